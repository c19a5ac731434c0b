//! From the events of the parser to trees, one per document.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span};

use super::{Mark, Node, Value};

/// Deepest document. Kubernetes objects stay far below; the tree is walked by recursion.
pub const MAX_DEPTH: usize = 100;

/// Most nodes that a document may stand for once its aliases are followed. A few lines can stand for billions.
pub const MAX_NODES: u64 = 500_000;

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Where it begins, to its end.
    pub mark: Mark,
    /// Its content, or why there is none. Empty documents have neither.
    pub content: Result<Option<Arc<Node>>, Broken>,
    /// Keys that stand twice in one mapping.
    pub duplicates: Vec<Mark>,
    /// Whether a mapping has a mapping or list as its key: what `{{ }}` looks like to a YAML parser.
    pub odd_keys: bool,
    /// Whether an alias stands for a node somewhere else.
    pub aliases: bool,
}

/// Why a document has no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where the parser stopped.
    pub mark: Mark,
    /// What it says.
    pub message: String,
}

#[cfg(test)]
thread_local!(static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// How many bytes this thread has parsed.
#[cfg(test)]
pub fn parsed_bytes() -> usize {
    BYTES.with(std::cell::Cell::get)
}

/// Reads every document of a file. Never fails: a document that is broken says so, and the next is read.
pub fn parse(file: u32, text: &str) -> Vec<Parsed> {
    #[cfg(test)]
    BYTES.with(|bytes| bytes.set(bytes.get() + text.len()));
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.simple_key_max_lookahead = 16 * 1024;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents: Vec<Parsed> = Vec::new();
    let mut open: Option<Builder> = None;
    loop {
        let document = u32::try_from(documents.len()).unwrap_or(u32::MAX);
        let broken = match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((Event::StreamStart, _))) => continue,
            Some(Ok((Event::DocumentStart(..), span))) => {
                open = Some(Builder::new(file, document, span));
                continue;
            }
            Some(Ok((Event::DocumentEnd, span))) => {
                documents.extend(open.take().map(|builder| builder.finish(span)));
                continue;
            }
            Some(Ok((event, span))) => {
                let builder = open.get_or_insert_with(|| Builder::new(file, document, span));
                match builder.event(event, span) {
                    Ok(()) => continue,
                    Err(message) => Broken {
                        mark: mark(file, document, span.start, span.end),
                        message,
                    },
                }
            }
            Some(Err(error)) => Broken {
                mark: mark(file, document, *error.marker(), *error.marker()),
                message: error.info(),
            },
        };
        let start = open.take().map_or(broken.mark, |builder| builder.start);
        documents.push(Parsed {
            mark: Mark {
                end: broken.mark.end,
                ..start
            },
            content: Err(broken),
            duplicates: Vec::new(),
            odd_keys: false,
            aliases: false,
        });
        match parser.proceed_next_document() {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    documents
}

fn mark(file: u32, document: u32, start: Marker, end: Marker) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark {
        file,
        document,
        line: number(start.line()),
        column: number(start.col().saturating_add(1)),
        start: number(start.byte_offset().unwrap_or_default()),
        end: number(end.byte_offset().unwrap_or_default()),
    }
}

/// A list or mapping whose end has not come yet.
struct Frame {
    mark: Mark,
    anchor: usize,
    map: bool,
    nodes: Vec<Arc<Node>>,
    weight: u64,
    height: usize,
}

/// An anchored node, with what following its alias costs.
struct Anchored {
    node: Arc<Node>,
    weight: u64,
    height: usize,
}

struct Builder {
    file: u32,
    document: u32,
    start: Mark,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    root: Option<Arc<Node>>,
    duplicates: Vec<Mark>,
    odd_keys: bool,
    aliases: bool,
}

impl Builder {
    fn new(file: u32, document: u32, span: Span) -> Self {
        Self {
            file,
            document,
            start: mark(file, document, span.start, span.end),
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            root: None,
            duplicates: Vec::new(),
            odd_keys: false,
            aliases: false,
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        let mark = mark(self.file, self.document, span.start, span.end);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let value = Value::Scalar {
                    text: text.into_owned(),
                    quoted: style != ScalarStyle::Plain || text_tag,
                };
                self.add(Arc::new(Node { mark, value }), anchor, 1, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.open(mark, anchor, false),
            Event::MappingStart(_, anchor, _) => self.open(mark, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.close(mark.end),
            Event::Alias(id) => {
                self.aliases = true;
                let found = self
                    .anchors
                    .get(&id)
                    .ok_or("an alias stands within its own anchor")?;
                let (node, weight, height) = (found.node.clone(), found.weight, found.height);
                self.add(node, 0, weight, height)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, mark: Mark, anchor: usize, map: bool) -> Result<(), String> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(format!("the document is nested deeper than {MAX_DEPTH} levels"));
        }
        self.frames.push(Frame {
            mark,
            anchor,
            map,
            nodes: Vec::new(),
            weight: 1,
            height: 1,
        });
        Ok(())
    }

    fn close(&mut self, end: u32) -> Result<(), String> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let mark = Mark { end, ..frame.mark };
        let value = if frame.map {
            Value::Map(self.pairs(frame.nodes))
        } else {
            Value::List(frame.nodes)
        };
        self.add(
            Arc::new(Node { mark, value }),
            frame.anchor,
            frame.weight,
            frame.height,
        )
    }

    fn pairs(&mut self, nodes: Vec<Arc<Node>>) -> Vec<(Arc<Node>, Arc<Node>)> {
        let mut seen = BTreeSet::new();
        let mut pairs = Vec::with_capacity(nodes.len() / 2);
        let mut merged = Vec::new();
        let mut nodes = nodes.into_iter();
        while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
            match &key.value {
                Value::Scalar { text, quoted: false } if text == "<<" => {
                    let sources = match &value.value {
                        Value::List(items) => items.clone(),
                        _ => vec![value.clone()],
                    };
                    merged.extend(sources);
                    continue;
                }
                Value::Scalar { text, .. } => {
                    if !seen.insert(text.clone()) {
                        self.duplicates.push(key.mark);
                    }
                }
                _ => self.odd_keys = true,
            }
            pairs.push((key, value));
        }
        // Own keys go before merged ones, and of these the first.
        for source in merged {
            for (key, value) in source.entries() {
                if let Value::Scalar { text, .. } = &key.value
                    && seen.insert(text.clone())
                {
                    pairs.push((key.clone(), value.clone()));
                }
            }
        }
        pairs
    }

    /// Puts a finished node into what is open around it.
    fn add(&mut self, node: Arc<Node>, anchor: usize, weight: u64, height: usize) -> Result<(), String> {
        if self.frames.len() + height > MAX_DEPTH + 1 {
            return Err(format!("the document is nested deeper than {MAX_DEPTH} levels"));
        }
        if anchor != 0 {
            let node = node.clone();
            self.anchors.insert(anchor, Anchored { node, weight, height });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight = frame.weight.saturating_add(weight);
        frame.height = frame.height.max(height + 1);
        if frame.weight > MAX_NODES {
            return Err(format!(
                "the document stands for more than {MAX_NODES} values once its aliases are followed"
            ));
        }
        frame.nodes.push(node);
        Ok(())
    }

    fn finish(self, span: Span) -> Parsed {
        let end = mark(self.file, self.document, span.start, span.end).start;
        Parsed {
            mark: Mark { end, ..self.start },
            content: Ok(self.root.filter(|node| !node.is_null())),
            duplicates: self.duplicates,
            odd_keys: self.odd_keys,
            aliases: self.aliases,
        }
    }
}
