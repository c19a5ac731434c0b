//! `docs/migrate-guide.md`: its commands, in their order, on a copy of its files. What the page shows is what they print
//! and write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use pretty_assertions::assert_eq;
use wib_harness::Tool;
use wib_harness::markdown::{self, Block};

use crate::migrate::{documents, fixtures, run_in};
use crate::runner::{self, trials};

trials![
    alone the_guide_shows_what_its_commands_do,
    alone what_a_guide_makes_up_is_noticed,
];

const PAGE: &str = "docs/migrate-guide.md";

/// A line that stands for lines which are left out.
const LEFT_OUT: &str = "…";

/// Where the guide has come to.
struct Reader {
    folder: PathBuf,
    /// What the last command has printed, and its code.
    printed: String,
    code: i32,
    commands: Vec<String>,
    shown: usize,
}

impl Reader {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            printed: String::new(),
            code: 0,
            commands: Vec::new(),
            shown: 0,
        }
    }

    async fn read(&mut self, page: &str) -> Result<()> {
        for block in markdown::read(page)?.blocks {
            self.block(&block)
                .await
                .with_context(|| format!("{PAGE}:{}", block.line))?;
        }
        Ok(())
    }

    async fn block(&mut self, block: &Block) -> Result<()> {
        match block.language.as_str() {
            "console" => self.console(&block.text).await,
            "diff" => self.show(&block.text),
            "yaml" => match block.text.split_once('\n') {
                Some((path, text)) if path.starts_with("# ") => {
                    self.file(path.trim_start_matches("# "), text)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Commands, each followed by what it prints.
    async fn console(&mut self, text: &str) -> Result<()> {
        ensure!(text.starts_with("$ "), "it begins with no command");
        for step in text.split("\n$ ") {
            let (command, output) = step.split_once('\n').unwrap_or((step, ""));
            self.run(command.trim_start_matches("$ ")).await?;
            if !output.trim().is_empty() {
                self.show(output)?;
            }
        }
        Ok(())
    }

    async fn run(&mut self, command: &str) -> Result<()> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["wib", "migrate", ref arguments @ ..] => {
                let output = run_in(&self.folder, arguments, "")?;
                self.printed = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
                self.code = output.status.code().context("it was killed")?;
                ensure!(self.code == 0, "{command}: {}", self.printed);
                self.builds().await?;
            }
            ["echo", "$?"] => self.printed = format!("{}\n", self.code),
            _ => bail!("{command}: a reader of the page would run it, this test cannot"),
        }
        self.commands.push(command.to_owned());
        Ok(())
    }

    /// Both overlays, as kustomize builds them.
    async fn builds(&self) -> Result<()> {
        for overlay in ["dev", "prod"] {
            self.build(overlay).await?;
        }
        Ok(())
    }

    async fn build(&self, overlay: &str) -> Result<String> {
        let path = self.folder.join("overlays").join(overlay);
        Tool::Kustomize
            .run(&["build", &path.display().to_string()], "")
            .await
    }

    /// The page shows this of what was printed.
    fn show(&mut self, shown: &str) -> Result<()> {
        self.shown += 1;
        contained(shown, &self.printed)
    }

    /// The page shows these documents of a file.
    fn file(&mut self, path: &str, shown: &str) -> Result<()> {
        self.shown += 1;
        let text = fs::read_to_string(self.folder.join(path)).with_context(|| path.to_owned())?;
        let there = documents(&text)?;
        for document in documents(shown)? {
            ensure!(there.contains(&document), "{path} does not hold {document:#}");
        }
        if text.contains(shown) {
            return Ok(());
        }
        // Documents that do not follow each other there: each as it is written.
        for document in shown.split("---\n") {
            ensure!(text.contains(document), "{path} does not hold\n{document}");
        }
        Ok(())
    }
}

/// Whether this is a text, but for lines that are left out.
fn contained(shown: &str, text: &str) -> Result<()> {
    let lines: Vec<&str> = text.lines().collect();
    let shown: Vec<&str> = shown.lines().collect();
    let pieces: Vec<&[&str]> = shown.split(|line| *line == LEFT_OUT).collect();
    let mut rest = lines.as_slice();
    for (number, piece) in pieces.iter().enumerate() {
        let found = match number {
            _ if pieces.len() == 1 => (rest == *piece).then_some(0),
            0 => rest.starts_with(piece).then_some(0),
            _ if number + 1 == pieces.len() => rest.ends_with(piece).then(|| rest.len() - piece.len()),
            _ if piece.is_empty() => Some(0),
            _ => rest.windows(piece.len()).position(|window| window == *piece),
        };
        let found = found.with_context(|| format!("the page shows {piece:#?}\nthe output is {text}"))?;
        rest = rest.get(found + piece.len()..).unwrap_or_default();
    }
    Ok(())
}

/// A copy of a folder.
fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn page() -> Result<String> {
    Ok(fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE),
    )?)
}

async fn the_guide_shows_what_its_commands_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    copied(&fixtures().join("guide"), folder.path())?;
    let mut reader = Reader::new(folder.path());
    reader.builds().await?;
    reader.read(&page()?).await?;

    let steps: Vec<&str> = reader
        .commands
        .iter()
        .filter_map(|command| command.strip_prefix("wib migrate --in-place --step "))
        .collect();
    assert_eq!(steps, ["grant .", "switch .", "clean ."]);
    ensure!(reader.shown > 10, "the page shows {} things only", reader.shown);
    for overlay in ["dev", "prod"] {
        let built = reader.build(overlay).await?;
        ensure!(!built.contains("aadpodidentity.k8s.io"), "{overlay}: {built}");
        ensure!(!built.contains("usePodIdentity"), "{overlay}: {built}");
        let labels = built.matches("azure.workload.identity/use: \"true\"").count();
        assert_eq!(labels, 3, "{overlay}: {built}");
    }
    runner::figure(format!(
        "guide: {} commands, {} of their outputs and files as the page shows them",
        reader.commands.len(),
        reader.shown
    ));
    Ok(())
}

async fn what_a_guide_makes_up_is_noticed() -> Result<()> {
    let text = "a\nb\nc\nd\n";
    for good in ["a\nb\nc\nd\n", "a\n…\nd\n", "…\nb\n…\n", "…\n"] {
        contained(good, text).with_context(|| good.to_owned())?;
    }
    for bad in ["a\nb\n", "b\nc\nd\n", "a\nc\n…\n", "…\nd\n…\na\n", "a\nx\n…\n"] {
        ensure!(contained(bad, text).is_err(), "{bad:?} passes");
    }
    let folder = tempfile::tempdir()?;
    copied(&fixtures().join("guide"), folder.path())?;
    let page = page()?;
    for (shown, made_up) in [
        ("6 of them planned", "7 of them planned"),
        ("  replicas: 2", "  replicas: 3"),
        ("$ wib migrate .", "$ rm -r ."),
    ] {
        ensure!(page.contains(shown), "{shown:?} is not on the page");
        let read = Reader::new(folder.path())
            .read(&page.replacen(shown, made_up, 1))
            .await;
        let refused = read.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refused.starts_with(PAGE), "{made_up:?} passes: {refused}");
    }
    Ok(())
}
