//! Writes rewritten files: all of them, or, if something stands in the way at the beginning, none.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::rewrite::FileChange;

/// Why the files were not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Something else has changed the file since it was read.
    #[error("{0} has changed since it was read; nothing was written: run it again")]
    Changed(String),
    /// A file that is to be made is there: Git ignores it, for instance.
    #[error(
        "{0} is there already and was not read; nothing was written: rename it, or give its path as well"
    )]
    InTheWay(String),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}; nothing was written")]
    Before {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written, when others have been.
    #[error(
        "cannot write {path}: {source}; {written} files were written before it: run it again, or undo them"
    )]
    Halfway {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
        /// How many had been.
        written: usize,
    },
}

/// Writes, makes and removes files. Each is made beside its place and then moved there, with the rights that it had.
///
/// # Errors
/// If a file has changed meanwhile, or cannot be written.
pub fn write(files: &[FileChange]) -> Result<(), Unwritten> {
    let mut staged = Vec::new();
    for file in files {
        let path = target(file).map_err(|source| before(file, source))?;
        unchanged(file, &path)?;
        let new = file.after.as_ref().map(|text| stage(&path, text));
        staged.push((
            file,
            path,
            new.transpose().map_err(|source| before(file, source))?,
        ));
    }
    for (written, (file, path, new)) in staged.into_iter().enumerate() {
        let done = match new {
            Some(new) => new.persist(&path).map(drop).map_err(|error| error.error),
            None => std::fs::remove_file(&path),
        };
        done.map_err(|source| Unwritten::Halfway {
            path: file.path.clone(),
            source,
            written,
        })?;
    }
    Ok(())
}

fn before(file: &FileChange, source: io::Error) -> Unwritten {
    Unwritten::Before {
        path: file.path.clone(),
        source,
    }
}

/// The file itself, where its path is a link.
fn target(file: &FileChange) -> io::Result<PathBuf> {
    match file.before {
        Some(_) if file.after.is_some() => Path::new(&file.path).canonicalize(),
        _ => Ok(PathBuf::from(&file.path)),
    }
}

fn unchanged(file: &FileChange, path: &Path) -> Result<(), Unwritten> {
    let now = match std::fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(before(file, source)),
    };
    if now.as_deref() == file.before.as_deref().map(str::as_bytes) {
        Ok(())
    } else if file.before.is_none() {
        Err(Unwritten::InTheWay(file.path.clone()))
    } else {
        Err(Unwritten::Changed(file.path.clone()))
    }
}

fn stage(path: &Path, text: &str) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::Builder::new()
        .prefix(".wib-migrate-")
        .permissions(permissions(path)?)
        .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    if path.exists() {
        // The umask does not count for a file that is there.
        new.as_file().set_permissions(permissions(path)?)?;
    }
    Ok(new)
}

/// Those of the file, or those that a new one has.
fn permissions(path: &Path) -> io::Result<std::fs::Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    match path.metadata() {
        Ok(metadata) => Ok(metadata.permissions()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(std::fs::Permissions::from_mode(0o666)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_if_a_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let change = |name: &str, before: Option<&str>, after: Option<&str>| FileChange {
            path: folder.path().join(name).to_string_lossy().into_owned(),
            before: before.map(Into::into),
            after: after.map(str::to_owned),
        };
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::fs::write(folder.path().join("b"), "b").unwrap();
        let wrong = [
            change("a", Some("a"), Some("A")),
            change("b", Some("other"), None),
        ];
        let error = write(&wrong).unwrap_err().to_string();
        assert!(error.contains("/b has changed since it was read"), "{error}");
        assert_eq!(
            (read("a").as_deref(), read("b").as_deref()),
            (Some("a"), Some("b"))
        );
        let error = write(&[change("a", None, Some("A"))]).unwrap_err().to_string();
        assert!(error.contains("/a is there already and was not read"), "{error}");
        let right = [
            change("a", Some("a"), Some("A")),
            change("b", Some("b"), None),
            change("c", None, Some("c")),
        ];
        write(&right).unwrap();
        assert_eq!(
            (read("a").as_deref(), read("b"), read("c").as_deref()),
            (Some("A"), None, Some("c"))
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn links_and_rights_are_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "a").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&[FileChange {
            path: link.to_string_lossy().into_owned(),
            before: Some("a".into()),
            after: Some("b".to_owned()),
        }])
        .unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "b");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}
