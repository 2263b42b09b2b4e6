//! Directories and files that hold rows or say something of them: for the service's own user alone,
//! whatever the umask it was started with.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What group and others may do.
const OTHERS: u32 = 0o077;

/// Makes `path`, and what is missing above it, readable for its owner alone; takes what group and
/// others may do with one that is there, and with the files in it, away.
///
/// # Errors
/// It cannot be made, read, or changed.
pub fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    close(path)?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let closed = entry
            .file_type()
            .and_then(|kind| if kind.is_file() { close(&entry.path()) } else { Ok(()) });
        match closed {
            // Its owner, RocksDB for one, may just have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            closed => closed?,
        }
    }
    Ok(())
}

/// Lets what this process makes from now on be for its user alone.
pub fn umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(OTHERS));
}

fn close(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_there_and_what_is_made_is_closed() {
        let top = std::env::temp_dir().join(format!("private-{}", uuid::Uuid::new_v4()));
        let inside = top.join("a/b");
        directory(&inside).unwrap();
        assert_eq!([mode(&top), mode(&inside)], [0o700, 0o700]);
        let file = inside.join("file");
        std::fs::write(&file, "row").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        std::fs::set_permissions(&inside, Permissions::from_mode(0o755)).unwrap();
        directory(&inside).unwrap();
        assert_eq!([mode(&inside), mode(&file)], [0o700, 0o600]);
        std::fs::remove_dir_all(top).unwrap();
    }
}
