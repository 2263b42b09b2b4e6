//! Private PostgreSQL clusters in temporary directories. They end with the process, however it ends:
//! a watchdog shell waits for this process's end of a pipe.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509NameBuilder};

use crate::port::free_port;
use crate::postgres::find_binaries;

/// A cluster without passwords, on a loopback port and a socket in its directory.
#[derive(Debug)]
pub struct Cluster {
    /// Its port.
    pub port: u16,
    /// Its directory, with its socket, and with `ca.pem`, `client.pem`, `client.key` of an encrypted one.
    pub directory: PathBuf,
    binaries: PathBuf,
    watchdog: Child,
}

/// The cluster that all tests share.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::new(Kind::Quick))
}

/// What a cluster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No fsync.
    Quick,
    /// A crash of the server is part of the test.
    Durable,
    /// Offers TLS, with the certificate in `ca.pem`.
    Encrypted,
}

impl Cluster {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn new(kind: Kind) -> Self {
        let binaries = find_binaries().expect("PostgreSQL is on this machine");
        let directory = tempfile::Builder::new()
            .prefix("lockstep-pg")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = directory.join("data");
        let initdb = unprivileged(binaries.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .expect("initdb runs");
        assert!(initdb.success());
        let port = free_port();
        configure(&data, &directory, port, kind);
        let watchdog = start(&binaries, &directory);
        let cluster = Cluster { port, directory, binaries, watchdog };
        cluster.await_ready();
        cluster
    }

    /// Stops the server as a power cut would, but for what the kernel has.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn crash(&mut self) {
        let status = unprivileged(self.binaries.join("pg_ctl"))
            .args(["-m", "immediate", "-w", "stop", "-D"])
            .arg(self.directory.join("data"))
            .stdout(Stdio::null())
            .status()
            .expect("pg_ctl runs");
        assert!(status.success());
        self.end_watchdog();
    }

    /// Starts it again, at the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.watchdog = start(&self.binaries, &self.directory);
        self.await_ready();
    }

    /// Another certificate, of another authority; for connections after the next reload.
    pub fn renew_certificate(&self) {
        certify(&self.directory.join("data"), &self.directory);
    }

    fn await_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        // The eighth line of postmaster.pid is the server's own word for its state.
        let state = self.directory.join("data/postmaster.pid");
        let is_ready = || {
            let lines = std::fs::read_to_string(&state).unwrap_or_default();
            lines.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        };
        while !is_ready() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end_watchdog(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end_watchdog();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn configure(data: &Path, directory: &Path, port: u16, kind: Kind) {
    let mut file =
        std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
    let fsync = if kind == Kind::Durable { "on" } else { "off" };
    if kind == Kind::Encrypted {
        certify(data, directory);
        writeln!(file, "\nssl = on\nssl_ca_file = '{}/ca.pem'", directory.display()).unwrap();
    }
    write!(
        file,
        "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
         fsync = {fsync}\nmax_connections = 200\nshared_buffers = '64MB'\nautovacuum = off\n\
         wal_writer_delay = '10s'\n",
        directory.display()
    )
    .unwrap();
    let certified = match kind {
        Kind::Encrypted => "hostssl all certified 127.0.0.1/32 cert\n",
        Kind::Quick | Kind::Durable => "",
    };
    let access = "host all guarded 127.0.0.1/32 scram-sha-256\n\
                  host all hashed 127.0.0.1/32 md5\nhost all plain 127.0.0.1/32 password\n\
                  host all all 127.0.0.1/32 trust\nlocal all hashed md5\n\
                  local all plain password\nlocal all all trust\n";
    std::fs::write(data.join("pg_hba.conf"), format!("{certified}{access}")).unwrap();
}

/// The server's certificate, which signs itself, and one for a client that it signs.
fn certify(data: &Path, directory: &Path) {
    let (name, key) = (common_name("localhost"), new_key());
    let server = certificate(&name, &key, &name, &key);
    std::fs::write(directory.join("ca.pem"), &server).unwrap();
    std::fs::write(data.join("server.crt"), &server).unwrap();
    let private = data.join("server.key");
    std::fs::write(&private, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&private, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let (client, its_key) = (common_name("certified"), new_key());
    let signed = certificate(&client, &its_key, &name, &key);
    std::fs::write(directory.join("client.pem"), signed).unwrap();
    // As `openssl genrsa -traditional` writes it.
    let traditional = its_key.rsa().unwrap().private_key_to_pem().unwrap();
    std::fs::write(directory.join("client.key"), traditional).unwrap();
}

/// A certificate that signs itself, and its key, as PEM.
///
/// # Panics
/// When OpenSSL cannot make it.
pub fn self_signed(name: &str) -> (Vec<u8>, Vec<u8>) {
    let (name, key) = (common_name(name), new_key());
    (certificate(&name, &key, &name, &key), key.private_key_to_pem_pkcs8().unwrap())
}

fn new_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn common_name(text: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", text).unwrap();
    name.build()
}

fn certificate(
    name: &X509Name,
    key: &PKey<Private>,
    issuer: &X509Name,
    issuer_key: &PKey<Private>,
) -> Vec<u8> {
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(name).unwrap();
    certificate.set_issuer_name(issuer).unwrap();
    certificate.set_pubkey(key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    let authority = BasicConstraints::new().critical().ca().build().unwrap();
    certificate.append_extension(authority).unwrap();
    let context = certificate.x509v3_context(None, None);
    let names = SubjectAlternativeName::new().dns("localhost").build(&context).unwrap();
    certificate.append_extension(names).unwrap();
    certificate.sign(issuer_key, MessageDigest::sha256()).unwrap();
    certificate.build().to_pem().unwrap()
}

/// The server under a shell that ends it when this process is gone.
fn start(binaries: &Path, directory: &Path) -> Child {
    let script = r#"
        "$1/postgres" -D "$2/data" >> "$2/log" 2>&1 &
        server=$!
        cat > /dev/null
        # A server that has just begun may miss a signal.
        while kill -INT $server 2> /dev/null; do sleep 0.05; done
        # Left behind by a process that has ended.
        [ -d "/proc/$3" ] || rm -rf "$2"
    "#;
    unprivileged("sh")
        .args(["-c", script, "sh"])
        .arg(binaries)
        .arg(directory)
        .arg(std::process::id().to_string())
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell runs")
}

/// The user that runs servers where root runs the tests.
pub const NOBODY: u32 = 65534;

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// A command that root runs as nobody: PostgreSQL refuses root.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
