//! Documents of the project, read as Markdown: what stands in their fences, where they link to, and which
//! anchors their headings make.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What a document holds.
#[derive(Debug, Default)]
pub struct Document {
    /// Fenced code.
    pub blocks: Vec<Block>,
    /// Code within sentences and tables.
    pub spans: Vec<String>,
    /// Targets of links.
    pub links: Vec<String>,
    /// What `#…` may name, as GitHub makes it of headings.
    pub anchors: BTreeSet<String>,
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The first word after the fence.
    pub language: String,
    /// What is in it.
    pub text: String,
    /// Its first line, the fence's being the one above.
    pub line: usize,
}

/// Reads a document.
///
/// # Errors
/// If a fence is left open: all that follows would be code.
pub fn read(text: &str) -> Result<Document> {
    let mut document = Document::default();
    let mut slugs: HashMap<String, usize> = HashMap::new();
    let mut heading: Option<String> = None;
    let mut block: Option<Block> = None;
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let line = || 1 + text[..range.start].matches('\n').count();
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let before = slugs.entry(slug.clone()).or_default();
                let anchor = if *before == 0 {
                    slug
                } else {
                    format!("{slug}-{before}")
                };
                *before += 1;
                document.anchors.insert(anchor);
            }
            Event::Start(Tag::Link { dest_url, .. }) => document.links.push(dest_url.into_string()),
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let source = text[range.clone()].trim_end();
                let fence: String = source.chars().take_while(|c| "`~".contains(*c)).collect();
                let closed = source.lines().count() > 1
                    && source.lines().last().is_some_and(|last| last.trim() == fence);
                ensure!(closed, "line {}: the fence is left open", line());
                let language = info.split_whitespace().next().unwrap_or_default().to_owned();
                block = Some(Block {
                    language,
                    text: String::new(),
                    line: line() + 1,
                });
            }
            Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
            Event::Text(part) | Event::Code(part) if heading.is_some() => {
                heading.get_or_insert_default().push_str(&part);
            }
            Event::Text(part) => {
                if let Some(block) = &mut block {
                    block.text.push_str(&part);
                }
            }
            Event::Code(part) => document.spans.push(part.into_string()),
            _ => {}
        }
    }
    Ok(document)
}

/// What GitHub makes of a heading: lower case, hyphens for spaces, and no other signs.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

impl Block {
    /// The here-documents of a block of shell commands: `<<EOF` to `EOF`, with the line of the first of theirs.
    ///
    /// # Errors
    /// If one does not end.
    pub fn heredocs(&self) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let mut lines = self.text.lines().zip(self.line..);
        while let Some((line, number)) = lines.next() {
            let Some((_, mark)) = line.split_once("<<") else {
                continue;
            };
            let mark: String = mark
                .trim_start_matches('\'')
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let mut text = String::new();
            let mut ended = false;
            for (line, _) in lines.by_ref() {
                ended = line == mark;
                if ended {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            ensure!(ended, "line {number}: nothing ends <<{mark}");
            found.push(Self {
                language: String::new(),
                text,
                line: number + 1,
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A `b`: c!\n\n[x](y.md#z) `--flag`\n\n## A b c\n\n- item\n\n  ```yaml title\n  a: 1\n  ```\n\n```sh\ncat <<EOF\nb: $C\nEOF\n```\n";

    #[test]
    fn blocks_links_spans_and_anchors_are_found() {
        let document = read(TEXT).unwrap();
        assert_eq!(document.links, ["y.md#z"]);
        assert_eq!(document.spans, ["--flag"]);
        assert_eq!(document.anchors, ["a-b-c", "a-b-c-1"].map(str::to_owned).into());
        let [yaml, sh] = &document.blocks[..] else {
            panic!("{:?}", document.blocks)
        };
        assert_eq!(
            (yaml.language.as_str(), yaml.text.as_str(), yaml.line),
            ("yaml", "a: 1\n", 10)
        );
        let heredocs = sh.heredocs().unwrap();
        assert_eq!((heredocs[0].text.as_str(), heredocs[0].line), ("b: $C\n", 15));
    }

    #[test]
    fn what_is_left_open_is_named_with_its_line() {
        let error = read("text\n\n```yaml\na: 1\n").unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        let open = read("```sh\ncat <<EOF\na\n```\n").unwrap();
        assert!(open.blocks[0].heredocs().is_err());
    }
}
