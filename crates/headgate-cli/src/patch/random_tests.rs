//! Random configurations of Envoy in random formatting.

use super::TYPE;
use fastrand::Rng;

/// A value before its formatting is chosen.
enum Tree {
    /// As it is written.
    Word(String),
    List(Vec<Tree>),
    Map(Vec<(&'static str, Tree)>),
    Null,
}

fn word(text: impl Into<String>) -> Tree {
    Tree::Word(text.into())
}

fn config(rng: &mut Rng) -> Tree {
    let mut fields = Vec::new();
    if rng.bool() {
        fields.push(("admin", Tree::Map(vec![("access_log_path", word("/dev/null"))])));
    }
    if rng.bool() {
        fields.push((
            "stats_config",
            match rng.u8(0..4) {
                0 => Tree::Null,
                1 => Tree::Map(vec![("use_all_default_tags", word("true"))]),
                2 => Tree::Map(vec![]),
                _ => Tree::Map(vec![(
                    "stats_tags",
                    Tree::List(vec![Tree::Map(vec![
                        ("tag_name", word("a")),
                        ("regex", word("'x'")),
                    ])]),
                )]),
            },
        ));
    }
    if rng.bool() {
        fields.push((
            "layered_runtime",
            match rng.u8(0..3) {
                0 => Tree::Map(vec![("layers", Tree::List(vec![]))]),
                1 => Tree::Map(vec![]),
                _ => Tree::Map(vec![(
                    "layers",
                    Tree::List(vec![Tree::Map(vec![
                        ("name", word("x")),
                        ("admin_layer", Tree::Map(vec![])),
                    ])]),
                )]),
            },
        ));
    }
    if rng.bool() {
        fields.push(("bootstrap_extensions", Tree::List(vec![])));
    }
    let listeners = (0..rng.usize(1..4)).map(|_| listener(rng)).collect();
    let mut resources = vec![("listeners", Tree::List(listeners))];
    match rng.u8(0..4) {
        0 => resources.push(("clusters", Tree::Null)),
        1 => resources.push(("clusters", Tree::List(vec![]))),
        2 => resources.insert(
            0,
            (
                "clusters",
                Tree::List(vec![Tree::Map(vec![("name", word("up"))])]),
            ),
        ),
        _ => {}
    }
    let at = rng.usize(0..=fields.len());
    fields.insert(at, ("static_resources", Tree::Map(resources)));
    Tree::Map(fields)
}

fn listener(rng: &mut Rng) -> Tree {
    let mut fields = vec![("name", word(["front", "back", "'side'"][rng.usize(0..3)]))];
    let chains = (0..rng.usize(1..3))
        .map(|_| Tree::Map(vec![("filters", Tree::List(vec![manager(rng)]))]))
        .collect();
    fields.push(("filter_chains", Tree::List(chains)));
    if rng.bool() {
        fields.push((
            "default_filter_chain",
            Tree::Map(vec![("filters", Tree::List(vec![manager(rng)]))]),
        ));
    }
    Tree::Map(fields)
}

fn manager(rng: &mut Rng) -> Tree {
    let mut fields = vec![("@type", word(TYPE))];
    let choices: [(&'static str, &[&str]); 6] = [
        ("use_remote_address", &["true", "false", "no"]),
        ("xff_num_trusted_hops", &["0", "1"]),
        ("normalize_path", &["true", "false"]),
        ("mergeSlashes", &["true", "\"false\""]),
        (
            "path_with_escaped_slashes_action",
            &["KEEP_UNCHANGED", "REJECT_REQUEST"],
        ),
        ("stat_prefix", &["x"]),
    ];
    for (name, values) in choices {
        if rng.bool() {
            fields.push((name, word(values[rng.usize(0..values.len())])));
        }
    }
    match rng.u8(0..4) {
        0 => fields.push(("common_http_protocol_options", Tree::Map(vec![]))),
        1 => fields.push((
            "common_http_protocol_options",
            Tree::Map(vec![("headers_with_underscores_action", word("ALLOW"))]),
        )),
        2 => fields.push((
            "common_http_protocol_options",
            Tree::Map(vec![("idle_timeout", word("1s"))]),
        )),
        _ => {}
    }
    if rng.bool() {
        fields.push(("access_log", access_log(rng)));
    }
    let names = ["cors", "jwt_authn", "lua", "buffer"];
    let mut filters: Vec<Tree> = (0..rng.usize(0..4))
        .map(|_| filter(names[rng.usize(0..4)]))
        .collect();
    filters.push(filter("router"));
    fields.push(("http_filters", Tree::List(filters)));
    // Any order but for the type, which may be last as well.
    let from = usize::from(rng.u8(0..5) > 0);
    rng.shuffle(&mut fields[from..]);
    Tree::Map(vec![("name", word("hcm")), ("typed_config", Tree::Map(fields))])
}

fn filter(name: &str) -> Tree {
    Tree::Map(vec![("name", word(format!("envoy.filters.http.{name}")))])
}

fn access_log(rng: &mut Rng) -> Tree {
    let format = match rng.u8(0..5) {
        0 => Some(Tree::Map(vec![(
            "json_format",
            Tree::Map(vec![("a", word("\"%START_TIME%\""))]),
        )])),
        1 => Some(Tree::Map(vec![(
            "text_format_source",
            Tree::Map(vec![("inline_string", word("\"a %START_TIME%\\n\""))]),
        )])),
        2 => Some(Tree::Map(vec![("text_format", word("'a b'"))])),
        3 => None,
        _ => return Tree::List(vec![]),
    };
    let url = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
    let mut config = vec![("@type", word(url))];
    config.extend(format.map(|format| ("log_format", format)));
    Tree::List(vec![Tree::Map(vec![
        ("name", word("x")),
        ("typed_config", Tree::Map(config)),
    ])])
}

/// How it is written.
struct Form {
    rng: Rng,
    indent: usize,
    dash: usize,
    /// In ten: how often a collection is in brackets.
    flow: u8,
    comments: bool,
    is_json: bool,
}

impl Form {
    fn key(&mut self, key: &str) -> String {
        match self.rng.u8(0..6) {
            _ if self.is_json => format!("\"{key}\""),
            0 => format!("'{key}'"),
            1 => format!("\"{key}\""),
            _ if key.starts_with('@') => format!("\"{key}\""),
            _ => key.to_owned(),
        }
    }

    fn word(&self, text: &str) -> String {
        match self.is_json && !text.starts_with('"') {
            true => format!("\"{}\"", text.trim_matches('\'')),
            false => text.to_owned(),
        }
    }

    /// White space within brackets; line feeds are followed by enough columns for any place.
    fn space(&mut self) -> String {
        match self.rng.u8(0..8) {
            0 => format!("\n{}", " ".repeat(self.rng.usize(60..64))),
            1 if self.comments && !self.is_json => format!(" # note, with [\n{}", " ".repeat(61)),
            2 | 3 => " ".to_owned(),
            _ => String::new(),
        }
    }

    fn flow(&mut self, tree: &Tree) -> String {
        match tree {
            Tree::Word(text) => self.word(text),
            Tree::Null => "null".to_owned(),
            Tree::List(items) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|item| self.space() + &self.flow(item) + &self.space())
                    .collect();
                format!("[{}{}]", items.join(","), self.space())
            }
            Tree::Map(fields) => {
                let one = |form: &mut Form, (key, value): &(&str, Tree)| {
                    let empty = match *key {
                        "clusters" => Tree::List(vec![]),
                        _ => Tree::Map(vec![]),
                    };
                    let value = if matches!(value, Tree::Null) {
                        &empty
                    } else {
                        value
                    };
                    format!(
                        "{}{}: {}{}",
                        form.space(),
                        form.key(key),
                        form.flow(value),
                        form.space()
                    )
                };
                let fields: Vec<String> = fields.iter().map(|field| one(self, field)).collect();
                format!("{{{}{}}}", fields.join(","), self.space())
            }
        }
    }

    fn comment(&mut self, column: usize) -> String {
        match self.rng.u8(0..6) {
            0 if self.comments => format!("{}# a comment: [x\n", " ".repeat(column)),
            1 if self.comments => "\n".to_owned(),
            2 if self.comments => format!("{}# deeper\n", " ".repeat(column + 1)),
            _ => String::new(),
        }
    }

    fn tail(&mut self) -> &'static str {
        match self.rng.u8(0..6) {
            0 if self.comments => "  # tail",
            1 if self.comments => " ",
            _ => "",
        }
    }

    fn is_block(&mut self, tree: &Tree) -> bool {
        let is_full = match tree {
            Tree::List(items) => !items.is_empty(),
            Tree::Map(fields) => !fields.is_empty(),
            _ => false,
        };
        is_full && self.rng.u8(0..10) >= self.flow
    }

    fn fields(&mut self, fields: &[(&str, Tree)], column: usize) -> String {
        let mut text = String::new();
        for (key, value) in fields {
            text += &self.comment(column);
            text += &format!("{}{}:", " ".repeat(column), self.key(key));
            if self.is_block(value) {
                text += &format!("{}\n", self.tail());
                text += &match value {
                    Tree::Map(fields) => self.fields(fields, column + self.indent),
                    Tree::List(items) => self.items(items, column + self.dash),
                    _ => String::new(),
                };
            } else if matches!(value, Tree::Null) {
                text += &format!("{}\n", self.tail());
            } else {
                text += &format!(" {}{}\n", self.flow(value), self.tail());
            }
        }
        text
    }

    fn items(&mut self, items: &[Tree], column: usize) -> String {
        let mut text = String::new();
        for item in items {
            text += &self.comment(column);
            let space = " ".repeat(column);
            match item {
                Tree::Map(fields) if self.is_block(item) => {
                    // The first field is beside the dash, or below it.
                    let inner = self.fields(fields, column + 2);
                    let is_beside =
                        inner.starts_with(&" ".repeat(column + 2)) && !inner.trim_start().starts_with('#');
                    text += &match is_beside && self.rng.u8(0..5) > 0 {
                        true => format!("{space}- {}", inner.trim_start()),
                        false => format!("{space}-\n{inner}"),
                    };
                }
                _ => text += &format!("{space}- {}{}\n", self.flow(item), self.tail()),
            }
        }
        text
    }
}

pub fn written(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let tree = config(&mut rng);
    let mut form = Form {
        indent: [2, 4, 3][rng.usize(0..3)],
        dash: [0, 2, 4][rng.usize(0..3)],
        flow: [0, 1, 3, 10][rng.usize(0..4)],
        comments: rng.bool(),
        is_json: rng.u8(0..6) == 0,
        rng: rng.fork(),
    };
    let Tree::Map(fields) = &tree else {
        return String::new();
    };
    let mut text = match form.is_json || form.flow == 10 {
        true => form.flow(&tree) + "\n",
        false => form.fields(fields, 0),
    };
    if rng.u8(0..4) == 0 {
        text = format!("# first\n---\n{text}---\n{{more: 1}}\n");
    }
    if rng.u8(0..4) == 0 {
        text = text.trim_end().to_owned();
    }
    if rng.u8(0..4) == 0 {
        text = text.replace('\n', "\r\n");
    }
    text
}
