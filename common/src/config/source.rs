//! What `[source]` may say: one host name and tables as `schema.table`. Forms that other tools take are
//! refused with the spelling that is right here, before anything asks a name server for them.

use super::Source;

impl Source {
    /// Host and port, as a socket takes them.
    pub fn address(&self) -> String {
        // An address of IPv6 has colons itself.
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What is wrong with the section: key and message.
pub(super) fn wrong(source: &Source) -> Option<(&'static str, String)> {
    if let Some(message) = wrong_host(&source.host) {
        return Some(("source.host", message));
    }
    let message = source.tables.iter().find_map(|name| wrong_table(name))?;
    Some(("source.tables", message))
}

fn wrong_host(host: &str) -> Option<String> {
    let write =
        |right: &str| Some(format!("`{host}` is not a host name; write host = \"{right}\""));
    let trimmed = host.trim();
    if trimmed.is_empty() {
        return Some("write the name or address of the server".to_owned());
    }
    let lower = trimmed.to_lowercase();
    for protocol in ["np:", "lpc:", "\\\\"] {
        if lower.starts_with(protocol) {
            return Some(format!(
                "`{host}` is no TCP address; write the server's name, and in port its TCP port"
            ));
        }
    }
    for prefix in ["tcp:", "admin:"] {
        if lower.starts_with(prefix) {
            let rest = trimmed[prefix.len()..].trim();
            return wrong_host(rest).or_else(|| write(rest));
        }
    }
    if lower.starts_with("(local") || trimmed == "." {
        return write("localhost");
    }
    if let Some((name, instance)) = trimmed.split_once('\\') {
        let name = if matches!(name, "." | "(local)") { "localhost" } else { name };
        return Some(format!(
            "`{host}` names an instance; write host = \"{name}\", and in port the TCP port that instance \
             {instance} listens at (SQL Server Configuration Manager shows it)"
        ));
    }
    if let Some((name, port)) = trimmed.split_once(',') {
        let (name, port) = (name.trim(), port.trim());
        return Some(format!("`{host}` names a port; write host = \"{name}\", port = {port}"));
    }
    if trimmed.starts_with('[') {
        return write(trimmed.trim_matches(['[', ']']));
    }
    if let Some((name, port)) = trimmed.split_once(':')
        && !port.contains(':')
    {
        return Some(format!("`{host}` names a port; write host = \"{name}\", port = {port}"));
    }
    if trimmed != host || trimmed.ends_with('.') {
        return write(trimmed.trim_end_matches('.'));
    }
    let odd = |c: char| c.is_whitespace() || "/;=\"'()".contains(c);
    trimmed.contains(odd).then(|| format!("`{host}` is not the name or address of a host"))
}

fn wrong_table(name: &str) -> Option<String> {
    let write = |right: &str| Some(format!("for `{name}` write schema.table: \"{right}\""));
    let quoted = name.starts_with(['[', '"']) || name.contains(".[") || name.contains(".\"");
    if quoted {
        return write(&name.replace(['[', ']', '"'], ""));
    }
    match name.split_once('.') {
        None => write(&format!("dbo.{}", name.trim())),
        Some((schema, table)) if schema.is_empty() || table.is_empty() => write("dbo.orders"),
        Some(_) if name.trim() != name => write(name.trim()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_tools_are_refused_with_the_right_spelling() {
        for (host, right) in [
            ("db1\\SHOP", "host = \"db1\""),
            (".\\SQLEXPRESS", "host = \"localhost\""),
            ("db1,1434", "host = \"db1\", port = 1434"),
            ("tcp:db1,1434", "host = \"db1\", port = 1434"),
            ("tcp:db1", "host = \"db1\""),
            ("TCP:db1", "host = \"db1\""),
            ("(local)", "host = \"localhost\""),
            ("(localdb)\\x", "host = \"localhost\""),
            (".", "host = \"localhost\""),
            ("np:\\\\db1\\pipe\\sql\\query", "TCP port"),
            ("lpc:db1", "TCP port"),
            ("[::1]", "host = \"::1\""),
            ("db1:1433", "host = \"db1\", port = 1433"),
            ("db1.example.com.", "host = \"db1.example.com\""),
            ("db1 ", "host = \"db1\""),
            ("", "write the name"),
            ("db1;Encrypt=no", "is not the name"),
        ] {
            let message = wrong_host(host).unwrap_or_else(|| panic!("{host} is accepted"));
            assert!(message.contains(right), "{host}: {message}");
        }
        for host in ["db1", "db-1.example.com", "10.0.0.1", "::1", "fe80::1%eth0", "Müller-db"] {
            assert_eq!(wrong_host(host), None, "{host}");
        }
    }

    #[test]
    fn tables_are_written_with_their_schema_and_without_quotes() {
        for (name, right) in [
            ("[dbo].[Orders]", "\"dbo.Orders\""),
            ("\"dbo\".\"Orders\"", "\"dbo.Orders\""),
            ("orders", "\"dbo.orders\""),
            (" dbo.orders", "\"dbo.orders\""),
            (".orders", "schema.table"),
        ] {
            let message = wrong_table(name).unwrap_or_else(|| panic!("{name} is accepted"));
            assert!(message.contains(right), "{name}: {message}");
        }
        for name in ["dbo.orders", "a b.c d", "dbo.with.dot"] {
            assert_eq!(wrong_table(name), None, "{name}");
        }
    }
}
