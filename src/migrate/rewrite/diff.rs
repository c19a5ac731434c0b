//! The changes as a patch.

use std::fmt::Write as _;

use similar::TextDiff;

use super::FileChange;

/// Lines of context.
const CONTEXT: usize = 3;

/// All changes as one patch, for `git apply` and `patch -p1`.
pub fn unified(files: &[FileChange]) -> String {
    let mut out = String::new();
    for file in files {
        let path = file.path.trim_start_matches('/');
        let name = |side: &str, there: bool| {
            if there {
                format!("{side}/{path}")
            } else {
                "/dev/null".to_owned()
            }
        };
        let (old, new) = (name("a", file.before.is_some()), name("b", file.after.is_some()));
        let _ = writeln!(out, "diff --git a/{path} b/{path}");
        if file.before.is_none() {
            out.push_str("new file mode 100644\n");
        }
        if file.after.is_none() {
            out.push_str("deleted file mode 100644\n");
        }
        let (before, after) = (
            file.before.as_deref().unwrap_or_default(),
            file.after.as_deref().unwrap_or_default(),
        );
        let diff = TextDiff::from_lines(before, after);
        let _ = write!(
            out,
            "{}",
            diff.unified_diff().context_radius(CONTEXT).header(&old, &new)
        );
    }
    out
}
