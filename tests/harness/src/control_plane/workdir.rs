//! The directory of one control plane: etcd's data, keys, logs. In memory where that is possible.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const PREFIX: &str = "wib-control-plane-";
const LOCK: &str = "lock";

/// A container's `/dev/shm` is often only 64 MiB, and etcd dies when its memory-mapped file finds no room.
const LEAST_MEMORY_KIB: u64 = 512 * 1024;

/// A directory without a lock may belong to a process that is just making it.
const TOO_YOUNG_TO_SWEEP: Duration = Duration::from_mins(1);

/// A temporary directory, removed when dropped. When its owner is killed, the next one to start removes it instead:
/// memory that is never given back would be worse than a file left on a disk.
pub(super) struct WorkDir {
    directory: TempDir,
    /// Locked for as long as we live. The kernel unlocks it however we end.
    _lock: File,
}

impl WorkDir {
    pub fn create() -> Result<Self> {
        let base = base();
        sweep(&base);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&base)
            .with_context(|| format!("making a directory in {}", base.display()))?;
        let lock = File::create(directory.path().join(LOCK))?;
        lock.try_lock().context("locking a directory just made")?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and returns its path. Only we can read it: the directory is ours alone.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        File::create(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() && memory_is_large(memory) {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Whether the tmpfs mounted there is large enough. No `size=` option means half of the machine's memory.
fn memory_is_large(mount_point: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let options = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next().map(Path::new) == Some(mount_point)).then(|| fields.nth(1))?
    });
    options.is_some_and(|options| {
        options
            .split(',')
            .find_map(|option| option.strip_prefix("size=")?.strip_suffix('k')?.parse().ok())
            .is_none_or(|kib: u64| kib >= LEAST_MEMORY_KIB)
    })
}

/// Removes what killed owners left. Failures do not matter: the next one tries again.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(directory: &Path) -> bool {
    let age = fs::metadata(directory)
        .and_then(|data| data.modified())
        .ok()
        .and_then(|modified| modified.elapsed().ok());
    if age.is_none_or(|age| age < TOO_YOUNG_TO_SWEEP) {
        return false;
    }
    match File::open(directory.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    }
}
