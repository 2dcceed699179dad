//! Reads the part of Python that settings and decorators use: names, numbers, texts, lists and dictionaries. Nothing is
//! executed.

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Text(String),
    Number(i64),
    Flag(bool),
    None,
    List(Vec<Literal>),
    Map(Vec<(String, Literal)>),
    /// A name, a call or another expression that only Python can evaluate.
    Other(String),
}

impl Literal {
    pub fn get(&self, key: &str) -> Option<&Literal> {
        match self {
            Literal::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Literal] {
        match self {
            Literal::List(items) => items,
            _ => &[],
        }
    }
}

/// Reads one value at the start of the text, and returns what follows it.
pub fn literal(text: &str) -> Option<(Literal, &str)> {
    let text = skip(text);
    let first = text.chars().next()?;
    match first {
        '\'' | '"' => {
            let (value, mut rest) = string(text)?;
            let mut value = value;
            // Texts side by side are one.
            while let Some((more, after)) = string(skip(rest)) {
                value += &more;
                rest = after;
            }
            Some((Literal::Text(value), rest))
        }
        '[' | '(' => {
            let close = if first == '[' { ']' } else { ')' };
            let mut items = Vec::new();
            let mut rest = skip(text.get(1..)?);
            loop {
                if let Some(after) = rest.strip_prefix(close) {
                    return Some((Literal::List(items), after));
                }
                let (item, after) = literal(rest)?;
                items.push(item);
                rest = comma(after, close)?;
            }
        }
        '{' => {
            let mut entries = Vec::new();
            let mut rest = skip(text.get(1..)?);
            loop {
                if let Some(after) = rest.strip_prefix('}') {
                    return Some((Literal::Map(entries), after));
                }
                let (key, after) = literal(rest)?;
                let (value, after) = literal(skip(after).strip_prefix(':')?)?;
                if let Literal::Text(key) = key {
                    entries.push((key, value));
                }
                rest = comma(after, '}')?;
            }
        }
        _ => other(text),
    }
}

/// The arguments of a call, from its open parenthesis on: by position and by name.
pub fn arguments(text: &str) -> Option<(Vec<(String, Literal)>, &str)> {
    let mut rest = skip(skip(text).strip_prefix('(')?);
    let mut all = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(')') {
            return Some((all, after));
        }
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        let named = skip(after).strip_prefix('=').filter(|_| !word.is_empty());
        let (value, after) = literal(named.unwrap_or(rest))?;
        all.push((named.map_or(String::new(), |_| word.to_owned()), value));
        rest = comma(after, ')')?;
    }
}

/// The text after a comma, or from the closing bracket on.
fn comma(text: &str, close: char) -> Option<&str> {
    let text = skip(text);
    match text.strip_prefix(',') {
        Some(after) => Some(skip(after)),
        None => text.starts_with(close).then_some(text),
    }
}

/// Without spaces, line ends and comments.
fn skip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix('#') {
            Some(comment) => text = comment.split_once('\n').map_or("", |(_, after)| after),
            None => return text,
        }
    }
}

fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| "'\"".contains(*c))?;
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.push(letters.next()?.1),
            letter if letter == quote => return Some((value, text.get(at + 1..)?)),
            letter => value.push(letter),
        }
    }
    None
}

/// A number, a known word, or anything up to the next comma or bracket that is not its own.
fn other(text: &str) -> Option<(Literal, &str)> {
    let mut depth = 0_i32;
    let mut end = text.len();
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                end = at;
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' | ':' | '\n' if depth == 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let (word, rest) = text.split_at_checked(end)?;
    let word = word.split('#').next().unwrap_or_default().trim();
    let value = match word {
        "" => return None,
        "True" => Literal::Flag(true),
        "False" => Literal::Flag(false),
        "None" => Literal::None,
        word => word
            .parse()
            .map_or_else(|_| Literal::Other(word.to_owned()), Literal::Number),
    };
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_with_comments_and_trailing_commas() {
        let text = "{ # rates\n  'anon': '100/day', \"b\": [1, None, f(x, y)],\n  'c': ('d' 'e'),\n}\nrest";
        let (value, rest) = literal(text).unwrap();
        assert_eq!(value.get("anon").and_then(Literal::text), Some("100/day"));
        let list = [
            Literal::Number(1),
            Literal::None,
            Literal::Other("f(x, y)".to_owned()),
        ];
        assert_eq!(value.get("b").unwrap().items(), list);
        assert_eq!(value.get("c").unwrap().items(), [Literal::Text("de".to_owned())]);
        assert_eq!(rest, "\nrest");
        for broken in ["", "{'a'", "['a'", "'a", "{'a': }"] {
            assert_eq!(literal(broken), None, "{broken}");
        }
    }

    #[test]
    fn arguments_are_identified_by_name() {
        let (all, _) = arguments("(key='ip', rate = '5/m', block=True)").unwrap();
        assert_eq!(all[0], ("key".to_owned(), Literal::Text("ip".to_owned())));
        assert_eq!(all[2], ("block".to_owned(), Literal::Flag(true)));
        let (all, _) = arguments("(ratelimit(key='ip'), name='post')").unwrap();
        assert_eq!(all[0].0, "");
    }
}
