//! Reads files and folders. The only part of this module that touches the file system.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;

use super::finding::Code;
use super::kustomize;
use super::progress::Progress;
use super::source::{File, Sources};

/// Largest file that is read. Manifests are far smaller; etcd takes no object above 1.5 MiB.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// How often a kustomization may lead to files that were not asked for, and these to further ones.
const MAX_ROUNDS: usize = 32;

/// Endings of files that can hold manifests, values or templates of them.
const ENDINGS: [&str; 5] = ["yaml", "yml", "yam", "json", "tpl"];

/// A path that cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct Unusable {
    path: String,
    source: io::Error,
}

/// Reads files and folders, `-` for standard input, and what their kustomizations name outside of them.
///
/// # Errors
/// If a path that was asked for does not exist or cannot be listed. Whatever is wrong below it is a finding.
pub fn read(paths: &[PathBuf], stdin: &mut dyn Read, progress: &dyn Progress) -> Result<Sources, Unusable> {
    let mut sources = Sources::default();
    let mut found = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let content = bounded(stdin).map_err(|error| unreadable(&error)).and_then(check);
            let path = "-".to_owned();
            sources.add(File {
                path,
                asked: true,
                content,
            });
        } else {
            found.extend(list(path)?);
        }
    }
    found.sort();
    progress.begin("reading", found.len());
    sources.add_all(
        &found,
        |path| normal(path),
        |path| {
            let file = load(path, true);
            progress.step();
            file
        },
    );
    for _ in 0..MAX_ROUNDS {
        let wanted = kustomize::wanted(&sources);
        let mut news = false;
        for path in wanted {
            news |= named(&mut sources, Path::new(&path));
        }
        if !news {
            break;
        }
    }
    Ok(sources)
}

/// The files of a path that can hold manifests. Links within a folder are not followed: what they lead to is read
/// where it stands. `.git` and what Git ignores are left out.
fn list(path: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let unusable = |source| Unusable {
        path: path.display().to_string(),
        source,
    };
    if !path.metadata().map_err(unusable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    path.read_dir().map_err(unusable)?;
    let mut found = Vec::new();
    let walk = WalkBuilder::new(path)
        .hidden(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk.flatten() {
        let file = entry.file_type().is_some_and(|kind| kind.is_file());
        let name = entry.file_name().to_string_lossy();
        let ending = Path::new(name.as_ref()).extension().and_then(|e| e.to_str());
        let wanted = ending.is_some_and(|e| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(e)));
        if file && (wanted || name == "Kustomization") {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

/// Reads a file or the kustomization of a folder that somebody names. Says whether something new came of it.
fn named(sources: &mut Sources, path: &Path) -> bool {
    let candidates = if path.is_dir() {
        kustomize::FILE_NAMES.map(|name| path.join(name)).to_vec()
    } else {
        vec![path.to_owned()]
    };
    let mut news = false;
    for candidate in candidates.iter().filter(|candidate| candidate.is_file()) {
        if sources.by_path(&normal(candidate)).is_none() {
            sources.add(load(candidate, false));
            news = true;
        }
    }
    news
}

fn load(path: &Path, asked: bool) -> File {
    let read = || -> io::Result<Vec<u8>> { bounded(&mut std::fs::File::open(path)?) };
    File {
        path: normal(path),
        asked,
        content: read().map_err(|error| unreadable(&error)).and_then(check),
    }
}

fn unreadable(error: &io::Error) -> (Code, String) {
    (Code::Unreadable, format!("The file cannot be read: {error}."))
}

/// Reads one byte more than a file may have at most.
fn bounded(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(bytes: Vec<u8>) -> Result<Vec<u8>, (Code, String)> {
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!(
            "The file is larger than {} MiB and was not read.",
            MAX_BYTES / 1024 / 1024
        );
        Err((Code::TooLarge, reason))
    } else if bytes.contains(&0) {
        Err((Code::Binary, "The file is binary and was not read.".to_owned()))
    } else {
        Ok(bytes)
    }
}

/// A path without `.` and, after a name, `..`; so that two ways to a file are one.
pub fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut root = "";
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::CurDir => {}
            Component::RootDir => root = "/",
            Component::ParentDir if parts.last().is_some_and(|part| part != "..") => {
                parts.pop();
            }
            Component::ParentDir => parts.push("..".to_owned()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
        }
    }
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::progress::Silent;
    use super::*;

    fn read_all(paths: &[PathBuf]) -> Sources {
        read(paths, &mut io::empty(), &Silent).unwrap()
    }

    #[test]
    fn folders_are_read_without_git_links_and_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".git", "a/b", ".hidden"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in [
            "a/b/x.yaml",
            "a/y.JSON",
            ".hidden/z.yml",
            ".git/c.yaml",
            "a/code.rs",
            "a/t.yaml.tpl",
        ] {
            std::fs::write(at(name), "a: 1\n").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("a/loop")).unwrap();
        let sources = read_all(&[folder.path().to_owned()]);
        let root = normal(folder.path());
        let names: Vec<&str> = sources.files.iter().map(|f| &f.path[root.len() + 1..]).collect();
        assert_eq!(names, [".hidden/z.yml", "a/b/x.yaml", "a/t.yaml.tpl", "a/y.JSON"]);
    }

    #[test]
    fn large_and_binary_files_are_findings() {
        let folder = tempfile::tempdir().unwrap();
        let size = usize::try_from(MAX_BYTES).unwrap() + 1;
        std::fs::write(folder.path().join("large.yaml"), vec![b'a'; size]).unwrap();
        std::fs::write(folder.path().join("binary.yaml"), b"a\0b").unwrap();
        let codes: Vec<_> = read_all(&[folder.path().to_owned()])
            .findings
            .iter()
            .map(|f| f.code)
            .collect();
        assert_eq!(codes, [Code::Binary, Code::TooLarge]);
    }

    #[test]
    fn a_path_that_does_not_exist_is_an_error_that_names_it() {
        let error = read(&["/no/such".into()], &mut io::empty(), &Silent).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /no/such:"), "{error}");
    }

    #[test]
    fn standard_input_is_read() {
        let sources = read(&["-".into()], &mut &b"kind: Pod\n"[..], &Silent).unwrap();
        assert_eq!(
            (sources.files[0].path.as_str(), sources.files[0].documents.len()),
            ("-", 1)
        );
    }

    #[test]
    fn two_ways_to_a_file_are_one() {
        assert_eq!(normal(Path::new("./a/b/../c")), "a/c");
        assert_eq!(normal(Path::new("../a")), "../a");
        assert_eq!(normal(Path::new("/a/./b")), "/a/b");
    }
}
