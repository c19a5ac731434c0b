//! Repositories to migrate from aad-pod-identity, made from a seed, with what is true of them.
//!
//! Teams have apps with a base and an overlay for each environment; a kustomization for each team and environment
//! brings these together. Beside them lie plain files, apps that have been migrated, and what has nothing to do with
//! identities. Every document is written in a style of its own: comments, quotes, anchors, flow style, line ends.

mod app;
mod objects;
mod overlay;
mod style;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use fastrand::Rng;
use serde_json::Value;
use style::{Form, Style};

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Files, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Folders to give to `kustomize build`: no other kustomization uses them.
    pub environments: Vec<String>,
    /// Every workload that pod identity gives something.
    pub truth: Vec<Truth>,
}

/// A workload that pod identity gives something, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Truth {
    /// Folder of its environment; none for plain files.
    pub environment: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub workload: String,
    /// ServiceAccount of its pods before the migration; none if it names none.
    pub account_before: Option<String>,
    /// ServiceAccount of its pods after the migration.
    pub account: String,
    /// ARM ids of its identities, in lower case.
    pub identities: BTreeSet<String>,
    /// Whether its selector holds the label of pod identity, which therefore stays.
    pub label_in_selector: bool,
}

impl Repository {
    /// Makes a repository of about so many files; the same seed gives the same one.
    pub fn generate(seed: u64, size: usize) -> Self {
        let mut maker = Maker {
            rng: Rng::with_seed(seed),
            made: Self::default(),
        };
        let (mut number, mut of_teams) = (0, 0);
        while maker.made.files.len() < size {
            number += 1;
            let before = maker.made.files.len();
            match maker.rng.u8(..10) {
                // A team has many files with one document each: half of all is enough.
                0..3 if of_teams * 2 <= before => {
                    maker.team(number, (size / 40).clamp(1, 8));
                    of_teams += maker.made.files.len() - before;
                }
                3..6 => maker.plain(number),
                6 => maker.migrated(number),
                _ => maker.unrelated(number),
            }
        }
        maker.made.settle();
        maker.made
    }

    /// Writes all files below a folder.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// The federated identity credentials that the migration needs: identity, namespace and ServiceAccount of each.
    pub fn credentials(&self) -> BTreeSet<(&str, &str, &str)> {
        let mut all = BTreeSet::new();
        for truth in &self.truth {
            let ids = truth.identities.iter();
            all.extend(ids.map(|id| (id.as_str(), truth.namespace.as_str(), truth.account.as_str())));
        }
        all
    }

    /// Gives every workload its ServiceAccount of after the migration: its own, unless that is `default` or serves
    /// workloads with different identities; then one of its own name.
    fn settle(&mut self) {
        let mut users: BTreeMap<_, BTreeSet<BTreeSet<String>>> = BTreeMap::new();
        let key = |t: &Truth| {
            (
                t.environment.clone(),
                t.namespace.clone(),
                t.account_before.clone(),
            )
        };
        for truth in &self.truth {
            users
                .entry(key(truth))
                .or_default()
                .insert(truth.identities.clone());
        }
        for truth in &mut self.truth {
            let alike = users.get(&key(truth)).is_some_and(|sets| sets.len() == 1);
            truth.account = match &truth.account_before {
                Some(own) if alike && own != "default" => own.clone(),
                _ => truth.workload.clone(),
            };
        }
        self.truth.sort();
    }
}

/// Makes the parts of a repository.
struct Maker {
    rng: Rng,
    made: Repository,
}

impl Maker {
    /// True with a chance of so many in a hundred.
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    /// Writes a file in some style and gives its name, whose ending the style decides.
    fn put(&mut self, folder: &str, stem: &str, form: Form, documents: &[Value]) -> String {
        let style = Style::pick(&mut self.rng, form);
        let name = format!("{stem}.{}", style.ending());
        let text = style.write(&mut self.rng, documents);
        self.made
            .files
            .insert(format!("{folder}/{name}"), text.into_bytes());
        name
    }

    fn client_id(&mut self) -> String {
        let (high, low) = (self.rng.u32(..), self.rng.u64(..1 << 48));
        format!("{high:08x}-0000-4000-8000-{low:012x}")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_repository_of_the_size_asked_for() {
        for size in [1, 60, 1_000] {
            let one = Repository::generate(7, size);
            let two = Repository::generate(7, size);
            assert_eq!((&one.files, &one.truth), (&two.files, &two.truth));
            assert!(
                (size..size * 2 + 60).contains(&one.files.len()),
                "{}",
                one.files.len()
            );
            assert_ne!(one.files, Repository::generate(8, size).files);
        }
    }

    #[test]
    fn every_style_is_there_and_every_file_is_yaml() {
        let repository = Repository::generate(1, 1_000);
        let mut signs = BTreeMap::from([
            ("\r\n", 0),
            ("<<: *same", 0),
            ("*same", 0),
            (" # ", 0),
            (": {", 0),
            ("|-", 0),
            (": '", 0),
        ]);
        let mut unended = 0;
        for (path, bytes) in &repository.files {
            let text = std::str::from_utf8(bytes).unwrap();
            for (sign, times) in &mut signs {
                *times += usize::from(text.contains(*sign));
            }
            unended += usize::from(!text.ends_with('\n'));
            if !path.contains("/templates/") {
                for document in serde_yaml::Deserializer::from_str(text) {
                    Value::deserialize(document).unwrap_or_else(|error| panic!("{path}: {error}"));
                }
            }
        }
        assert!(
            unended > 10 && signs.values().all(|times| *times > 10),
            "{signs:?}, {unended}"
        );
    }
}
