//! `lockstep schema`: what a full load makes in a target (`--print`), from the source, and from the target
//! where it can be asked; and what apply's role needs there (`--grants`).

use lockstep_apply::ApplySettings;
use lockstep_common::config::{self, Config};
use lockstep_common::service::Ending;

use crate::arguments::SchemaOptions;

/// Prints the DDL of both phases, and as comments what is not made and why; or the grants.
///
/// # Errors
/// When the file names no such target, or the source cannot be read.
pub(crate) async fn print(config: &Config, options: &SchemaOptions) -> Result<(), Ending> {
    let (name, apply) = target(config, options)?;
    let Some(source) = &config.source else {
        return Err(Ending::usage("the configuration has no [source] to ask"));
    };
    let tables = lockstep_capture::definitions(source, &config.capture).await?;
    if options.grants {
        let names: Vec<_> = tables.iter().map(|(version, _)| &version.name).collect();
        println!(
            "-- What role {} needs in database {} for apply.{name} of pipeline {} (PostgreSQL {}).\n\
             -- To be run there, with psql, by a superuser.\n",
            apply.user.replace(char::is_control, " "),
            apply.database.replace(char::is_control, " "),
            config.pipeline.name,
            options.target_version,
        );
        print!("{}", lockstep_apply::grants(apply, options.target_version, &names));
        return Ok(());
    }
    println!(
        "-- What a full load of pipeline {} makes in the target of apply.{name} (PostgreSQL {}).\n\
         -- {} table(s) of {}.\n",
        config.pipeline.name,
        options.target_version,
        tables.len(),
        source.database.replace(char::is_control, " "),
    );
    let settings = ApplySettings {
        name: name.clone(),
        pipeline: config.pipeline.name.clone(),
        task: config.pipeline.task,
        config: apply.clone(),
    };
    print!("{}", lockstep_apply::schema(&settings, options.target_version, &tables).await);
    Ok(())
}

/// The apply that is meant.
fn target<'a>(
    config: &'a Config,
    options: &SchemaOptions,
) -> Result<(&'a String, &'a config::Apply), Ending> {
    let names = || config.apply.keys().cloned().collect::<Vec<_>>().join(", ");
    match (&options.apply, config.apply.len()) {
        (Some(name), _) => config.apply.get_key_value(name).ok_or_else(|| {
            Ending::usage(format!("the configuration has no [apply.{name}]; it has {}", names()))
        }),
        (None, 0) => Err(Ending::usage("the configuration has no [apply.<name>]")),
        (None, 1) => {
            config.apply.iter().next().ok_or_else(|| Ending::usage("there is no [apply.<name>]"))
        }
        (None, _) => Err(Ending::usage(format!("say which of {} is meant: --apply NAME", names()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(applies: &[&str]) -> Config {
        let mut file =
            "[pipeline]\nname = \"p\"\n[log]\nkind = \"embedded\"\npath = \"l\"\n".to_owned();
        for name in applies {
            file.push_str(&format!(
                "[apply.{name}]\nhost = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nspool = \"{name}\"\n"
            ));
        }
        config::parse(&file, "test", []).expect("a configuration")
    }

    fn chosen(applies: &[&str], name: Option<&str>) -> Result<String, String> {
        let options = SchemaOptions {
            print: true,
            grants: false,
            apply: name.map(str::to_owned),
            target_version: 15,
        };
        let config = with(applies);
        target(&config, &options).map(|(name, _)| name.clone()).map_err(|ending| ending.message)
    }

    #[test]
    fn one_target_needs_no_name_several_do() {
        assert_eq!(chosen(&["main"], None).unwrap(), "main");
        assert_eq!(chosen(&["main", "other"], Some("other")).unwrap(), "other");
        assert!(chosen(&["main", "other"], None).unwrap_err().contains("main, other"));
        assert!(chosen(&["main"], Some("x")).unwrap_err().contains("[apply.x]"));
        assert!(chosen(&[], None).is_err());
    }
}
