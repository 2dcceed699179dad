//! `extract`: takes the part of a value that identifies the client.

use regex_lite::Regex;

/// A compiled `extract`: a regex with exactly one group, over the whole value, in time linear in its length.
#[derive(Debug, Clone)]
pub struct Extract {
    text: String,
    regex: Regex,
}

impl Extract {
    /// Compiles a regex.
    ///
    /// # Errors
    /// The message is for the author of the regex and contains the remedy.
    pub fn parse(text: &str) -> Result<Extract, String> {
        let regex = whole(text)?;
        match regex.captures_len() - 1 {
            1 => Ok(Extract {
                text: text.to_owned(),
                regex,
            }),
            0 => Err("has no group; put ( ) around the part that names the client".into()),
            n => Err(format!("has {n} groups; keep one and write (?: ) for the others")),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of the group in the value; `None` if the value does not match or is not UTF-8.
    pub fn find<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        let captures = self.regex.captures(std::str::from_utf8(value).ok()?)?;
        captures.get(1).map(|group| group.as_str().as_bytes())
    }
}

impl PartialEq for Extract {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Compiles a regex that has to match the whole text.
pub(crate) fn whole(text: &str) -> Result<Regex, String> {
    let advice =
        "the syntax is that of Rust's regex crate, without look-around, back-references and \\p classes";
    // Compiled alone first: `a)|(b` would close the group around it.
    Regex::new(text)
        .and_then(|_| Regex::new(&format!(r"\A(?:{text})\z")))
        .map_err(|error| format!("is not a regex: {error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract<'a>(regex: &str, value: &'a str) -> Option<&'a str> {
        let found = Extract::parse(regex).unwrap().find(value.as_bytes());
        found.map(|part| std::str::from_utf8(part).unwrap())
    }

    #[test]
    fn the_group_of_the_whole_value_is_taken() {
        assert_eq!(extract("Bearer (.+)", "Bearer abc"), Some("abc"));
        assert_eq!(extract("Bearer (.+)", "xBearer abc"), None);
        assert_eq!(extract("Bearer ([a-z]+)", "Bearer abc1"), None);
        assert_eq!(extract("a|(b)", "b"), Some("b"));
        assert_eq!(extract("a|(b)", "a"), None);
        assert_eq!(extract("(?:a|b)(.*)", "bc"), Some("c"));
    }

    #[test]
    fn a_value_that_is_not_utf8_yields_nothing() {
        assert_eq!(Extract::parse("(.+)").unwrap().find(b"\xff"), None);
    }

    #[test]
    fn what_is_not_one_group_is_refused_with_a_remedy() {
        for (regex, remedy) in [
            ("a", "put ( ) around"),
            ("(a)(b)", "write (?: )"),
            ("(a", "is not a regex"),
            ("a)|(b", "is not a regex"),
            ("(?=a)(b)", "without look-around"),
        ] {
            let error = Extract::parse(regex).unwrap_err();
            assert!(error.contains(remedy), "{regex}: {error}");
        }
    }

    #[test]
    fn a_hostile_value_takes_linear_time() {
        let value = "a".repeat(60_000);
        assert_eq!(extract("(?:a*)*b(.)", &value), None);
    }
}
