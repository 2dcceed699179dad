//! The names of keys and fields.
//!
//! | | |
//! |---|---|
//! | a client's hash | `<prefix>:<instance>:{<tag>}` |
//! | a counter in it, as a field | `<limit>:<form>:<period ms>` |
//! | a counter with its own key | `<hash>:<limit>:<form>:<period ms>[:<component>…]`; a hash with one field, or a log |
//! | a live override | the field `<limit>:override` of the client's hash |

use crate::identify::{push_part, Hasher};
use crate::limit::{Form, Period};
use percent_encoding::percent_decode_str;

/// The field of a hash that holds only one counter.
pub const ONLY_FIELD: &str = "c";

/// The suffix of the field's name of a live override.
const OVERRIDE: &str = ":override";

/// The start of a key, including the brace that opens the hash tag.
pub fn hash_tag_start(key_prefix: &str, instance: &str) -> String {
    format!("{key_prefix}:{instance}:{{")
}

/// `<limit>:<form>:<period ms>`.
pub fn label(limit: &str, form: Form, period_ms: u64, hasher: &Hasher) -> String {
    format!("{}:{}:{period_ms}", escaped(limit, hasher), form.as_str())
}

/// The field of a limit's live override.
pub fn override_field(limit: &str, hasher: &Hasher) -> String {
    escaped(limit, hasher) + OVERRIDE
}

/// The name of the limit from the field of a live override. `None`: the field is not a live override.
pub fn override_limit(field: &str) -> Option<String> {
    field.strip_suffix(OVERRIDE).map(unescape)
}

fn escaped(limit: &str, hasher: &Hasher) -> String {
    let mut escaped = Vec::new();
    push_part(&mut escaped, limit.as_bytes(), hasher);
    String::from_utf8(escaped).unwrap_or_default()
}

/// The parts of a counter's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The limit's name.
    pub limit: String,
    /// The form in which the counter is stored.
    pub form: Form,
    /// The period of its rate.
    pub period: Period,
    /// The other parts of its key, such as a path or a method; empty for the client alone.
    pub components: String,
}

impl Label {
    /// Reads `<limit>:<form>:<period ms>[:<component>…]`; `None`: not the name of a counter.
    pub fn parse(text: &str) -> Option<Label> {
        let mut parts = text.splitn(4, ':');
        let (limit, form, period) = (parts.next()?, parts.next()?, parts.next()?);
        let form = Form::ALL.into_iter().find(|known| known.as_str() == form)?;
        Some(Label {
            limit: unescape(limit),
            form,
            period: Period::from_millis(period.parse().ok()?)?,
            components: parts.next().unwrap_or_default().to_owned(),
        })
    }
}

/// Decodes `%XX` in a limit's name from a key.
pub fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_a_label_is_read_as_it() {
        let hasher = Hasher::new(None);
        for limit in ["a", "100/minute", "a:b", "50%", "é {x}"] {
            for form in Form::ALL {
                let expected = Label {
                    limit: limit.to_owned(),
                    form,
                    period: Period::from_millis(60_000).unwrap(),
                    components: String::new(),
                };
                assert_eq!(Label::parse(&label(limit, form, 60_000, &hasher)), Some(expected));
            }
            let field = override_field(limit, &hasher);
            assert_eq!(override_limit(&field).as_deref(), Some(limit));
            assert_eq!(Label::parse(&field), None);
        }
        let components = Label::parse("a:fixed:1000:/x:GET").map(|label| label.components);
        assert_eq!(components.as_deref(), Some("/x:GET"));
    }

    #[test]
    fn what_is_no_label_is_none() {
        for text in ["", "a", "a:fixed", "a:round:1000", "a:fixed:soon", "a:fixed:0"] {
            assert_eq!(Label::parse(text), None, "{text}");
        }
        assert_eq!(override_limit("a:fixed:1000"), None);
    }
}
