// SPDX-License-Identifier: GPL-2.0-or-later
//! A YAML file as a tree whose every node knows its place.
//!
//! The typed reading ([`super::de`]), the checks, and the expansion of `include` all work on this
//! tree, so that each can point at the very word that is wrong.

use std::collections::HashMap;

use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::Span;

use super::diagnose::Diagnosis;
use super::source::Place;
use super::source::Sources;

/// How deep lists and maps may lie in each other. Steps in steps have a lower limit of their own.
pub const MAX_DEPTH: usize = 128;
/// The most values of a file after its aliases are expanded.
pub const MAX_NODES: usize = 200_000;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text, number, truth value or nothing: which one is decided by who reads it.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text.
    pub text: String,
    /// How it came here.
    pub form: Form,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Without quotes: may be a number, a truth value or nothing.
    Plain,
    /// In quotes or as a block: a text.
    Quoted,
    /// It was a template: whatever its reader wants.
    Filled,
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// A text that stands in no file, at the place of something that does.
    pub fn text(place: Place, text: impl Into<String>) -> Self {
        Node {
            place,
            value: Value::Scalar(Scalar {
                text: text.into(),
                form: Form::Quoted,
            }),
        }
    }

    /// The fields of a map; none for anything else.
    pub fn fields(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// A field of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let mut fields = self.fields().iter();
        fields.find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The key of a field.
    pub fn key(&self, key: &str) -> Option<&Key> {
        let mut fields = self.fields().iter();
        fields.find(|(k, _)| k.text == key).map(|(key, _)| key)
    }

    /// The place of a field's key, or the node's own.
    pub fn key_place(&self, key: &str) -> Place {
        self.key(key).map_or(self.place, |key| key.place)
    }

    /// The text of a scalar field.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::as_str)
    }

    /// The text of a scalar.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Values in it, itself included.
    pub fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(fields) => fields.iter().map(|(_, node)| node.count()).sum(),
        }
    }
}

/// Parses the source with this number. The outer error is for a file that cannot be parsed at all;
/// beside the tree stands what is wrong with it and can be repaired.
pub fn parse(sources: &Sources, number: u32) -> Result<(Node, Vec<Diagnosis>), Box<Diagnosis>> {
    let text = sources.get(number).map_or("", |source| &source.text);
    let mut builder = Builder {
        sources,
        offsets: Offsets::new(number, text),
        stack: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        nodes: 0,
        wrong: Vec::new(),
    };
    // The parser takes a byte order mark, and so do editors.
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let at = error.marker().index();
                let place = builder.offsets.at(at, at + 1);
                return Err(Box::new(syntax(sources, place, text, error.info())));
            }
        }
    }
    match builder.root {
        Some(root) => Ok((root, builder.wrong)),
        None => Err(Box::new(sources.diagnose(
            builder.offsets.at(0, 0),
            "the file is empty: nothing but comments and blank lines is in it",
        ))),
    }
}

/// What the parser cannot read, with what people meant most often.
fn syntax(sources: &Sources, place: Place, text: &str, why: &str) -> Diagnosis {
    let (line, _) = sources.line_column(place);
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let indent: &str = &line[..line.len() - line.trim_start().len()];
    let diagnosis = sources.diagnose(place, format!("this is no YAML: {why}"));
    if indent.contains('\t') {
        diagnosis.with_help("the line begins with a tab: YAML is indented with spaces")
    } else if line.contains("${") && line.contains('{') {
        diagnosis.with_help("a `${...}` inside `{...}` or `[...]` must stand in quotes")
    } else {
        diagnosis
    }
}

/// Characters, in which the parser counts, to bytes.
struct Offsets {
    source: u32,
    /// Absent when all characters are single bytes.
    bytes: Option<Vec<u32>>,
    length: usize,
}

impl Offsets {
    fn new(source: u32, text: &str) -> Self {
        let bytes = (!text.is_ascii()).then(|| {
            let starts = text.char_indices().map(|(at, _)| at as u32);
            starts.chain([text.len() as u32]).collect()
        });
        Offsets {
            source,
            bytes,
            length: text.len(),
        }
    }

    fn byte(&self, character: usize) -> u32 {
        match &self.bytes {
            None => character.min(self.length) as u32,
            Some(bytes) => bytes.get(character).copied().unwrap_or(self.length as u32),
        }
    }

    fn at(&self, start: usize, end: usize) -> Place {
        Place {
            source: self.source,
            start: self.byte(start),
            end: self.byte(end.max(start)),
        }
    }
}

/// A list or map that is not yet closed.
struct Open {
    node: Node,
    anchor: usize,
    /// Of a map: the key whose value comes next.
    key: Option<Key>,
    /// Of a map: where each of its keys stands.
    keys: HashMap<String, Place>,
}

struct Builder<'a> {
    sources: &'a Sources,
    offsets: Offsets,
    stack: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    wrong: Vec<Diagnosis>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnosis>> {
        let place = self.offsets.at(span.start.index(), span.end.index());
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(Box::new(
                    self.sources
                        .diagnose(place, "a second document begins here")
                        .with_help("a file holds one scenario or one piece: remove the `---`"),
                ));
            }
            Event::Alias(anchor) => {
                let Some((node, count)) = self.anchors.get(&anchor).cloned() else {
                    let message = "an alias inside the value that it stands for";
                    return Err(Box::new(self.sources.diagnose(place, message)));
                };
                self.grow(count, place)?;
                let depth = self.stack.len() + depth(&node);
                self.allow_depth(depth, place)?;
                self.add(node, 0)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), place);
                self.grow(1, place)?;
                let form = match style {
                    ScalarStyle::Plain => Form::Plain,
                    _ => Form::Quoted,
                };
                let value = Value::Scalar(Scalar {
                    text: text.into_owned(),
                    form,
                });
                self.add(Node { place, value }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), place);
                self.open(Value::List(Vec::new()), anchor, place)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), place);
                self.open(Value::Map(Vec::new()), anchor, place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(mut open) = self.stack.pop() {
                    open.node.place.end = open.node.place.end.max(place.end);
                    self.add(open.node, open.anchor)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn no_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            let message = "tags such as `!this` or `!!str` mean nothing here";
            self.wrong.push(
                self.sources
                    .diagnose(place, message)
                    .with_help("remove it; a number in quotes is a text"),
            );
        }
    }

    fn grow(&mut self, by: usize, place: Place) -> Result<(), Box<Diagnosis>> {
        self.nodes = self.nodes.saturating_add(by);
        match self.nodes > MAX_NODES {
            false => Ok(()),
            true => Err(Box::new(
                self.sources
                    .diagnose(
                        place,
                        format!(
                            "with its aliases expanded, the file has more than {MAX_NODES} values"
                        ),
                    )
                    .with_help("use `repeat`, `matrix` or `include`"),
            )),
        }
    }

    fn allow_depth(&self, depth: usize, place: Place) -> Result<(), Box<Diagnosis>> {
        match depth > MAX_DEPTH {
            false => Ok(()),
            true => Err(Box::new(self.sources.diagnose(
                place,
                format!("lists and maps lie more than {MAX_DEPTH} deep in each other here"),
            ))),
        }
    }

    fn open(&mut self, value: Value, anchor: usize, place: Place) -> Result<(), Box<Diagnosis>> {
        self.grow(1, place)?;
        self.allow_depth(self.stack.len() + 1, place)?;
        self.stack.push(Open {
            node: Node { place, value },
            anchor,
            key: None,
            keys: HashMap::new(),
        });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Box<Diagnosis>> {
        if anchor != 0 {
            let count = node.count();
            self.anchors.insert(anchor, (node.clone(), count));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(fields), Some(key)) => match open.keys.get(&key.text) {
                None => {
                    open.keys.insert(key.text.clone(), key.place);
                    fields.push((key, node));
                }
                Some(first) => {
                    let (line, _) = self.sources.line_column(*first);
                    let message = format!("`{}` stands twice in this map", key.text);
                    let wrong = self.sources.diagnose(key.place, message);
                    self.wrong
                        .push(wrong.with_help(format!("the first one is in line {line}")));
                }
            },
            (Value::Map(_), None) => match node.value {
                Value::Scalar(scalar) => {
                    open.key = Some(Key {
                        text: scalar.text,
                        place: node.place,
                    });
                }
                _ => {
                    return Err(Box::new(
                        self.sources
                            .diagnose(node.place, "a key must be a word, not a list or a map")
                            .with_help("`${...}` at the beginning of a value must stand in quotes"),
                    ));
                }
            },
            (Value::Scalar(_), _) => {}
        }
        Ok(())
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(fields) => 1 + fields.iter().map(|(_, n)| depth(n)).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;
    use std::time::Instant;

    use super::*;

    fn parsed(text: &str) -> Result<(Node, Vec<Diagnosis>), Box<Diagnosis>> {
        let mut sources = Sources::default();
        let number = sources.add(Path::new("a.yaml"), text.into(), None);
        parse(&sources, number)
    }

    fn refused(text: &str) -> String {
        let began = Instant::now();
        let message = match parsed(text) {
            Err(wrong) => wrong.to_string(),
            Ok((_, wrong)) => wrong.first().map(ToString::to_string).unwrap_or_default(),
        };
        assert!(began.elapsed() < Duration::from_secs(10), "too slow");
        assert!(!message.is_empty(), "accepted");
        message
    }

    #[test]
    fn nodes_know_their_places_in_bytes() {
        let text = "ö: {b: [1, 'zwei']}\n";
        let (root, wrong) = parsed(text).unwrap();
        assert!(wrong.is_empty());
        let b = root.get("ö").and_then(|node| node.get("b")).unwrap();
        let of = |place: Place| &text[place.start as usize..place.end as usize];
        assert_eq!(of(root.key_place("ö")), "ö");
        assert_eq!(of(b.items()[0].place), "1");
        assert_eq!(of(b.items()[1].place), "'zwei'");
    }

    #[test]
    fn aliases_are_expanded() {
        let (root, _) = parsed("a: &x {n: 1}\nb: *x\n").unwrap();
        assert_eq!(root.get("b").and_then(|b| b.str("n")), Some("1"));
    }

    #[test]
    fn a_billion_laughs_are_refused_at_once() {
        let mut text = "l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..30 {
            let below = level - 1;
            let list = vec![format!("*l{below}"); 10].join(", ");
            text += &format!("l{level}: &l{level} [{list}]\n");
        }
        assert!(refused(&text).contains("values"), "{}", refused(&text));
    }

    #[test]
    fn depth_is_refused_and_no_stack_overflows() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            for levels in [MAX_DEPTH + 1, 100_000] {
                let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
                let message = refused(&text);
                assert!(message.starts_with("a.yaml:1:"), "{message}");
            }
        }
        let nested: String = (0..200)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect();
        assert!(refused(&nested).contains("128 deep"));
        let mut chain = "a0: &a0 [1]\n".to_owned();
        for level in 1..200 {
            chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert!(refused(&chain).contains("128 deep"));
    }

    #[test]
    fn what_is_no_yaml_or_no_tree_says_why() {
        for (text, expected) in [
            ("", "the file is empty"),
            ("# nothing\n\n", "the file is empty"),
            ("a:\n\tb: 1\n", "tab"),
            ("a: 1\na: 2\n", "stands twice"),
            ("a: [1, 2\n", "no YAML"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("a: &x [*x]\n", "alias"),
            ("a: *nobody\n", "no YAML"),
            ("a: !secret 1\n", "tags"),
            ("{[1]: 2}\n", "must be a word"),
            ("a: {b: ${n}}\n", "quotes"),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_full_size_file_is_read_in_time() {
        let line = "- sleep: {for: 1s}\n";
        let many = line.repeat((1 << 20) / line.len());
        let began = Instant::now();
        let _ = parsed(&many);
        let _ = parsed(&"[".repeat(1 << 20));
        let _ = parsed(&format!("a: \"{}", "x".repeat(1 << 20)));
        let _ = parsed(&"? ".repeat(1 << 19));
        let _ = parsed(&"a: ".repeat(1 << 18));
        let _ = parsed(&"&a ".repeat(1 << 18));
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
}
