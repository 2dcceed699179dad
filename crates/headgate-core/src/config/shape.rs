//! The structure of a configuration: which fields an object has, the form of each field, and which fields may be
//! combined.
//!
//! The readers take the names, words and ranges of their fields from these tables. The JSON Schema of a policy and the
//! admission policy for Kubernetes are generated from the same tables (`headgate schema`,
//! `headgate generate --admission`). Tests compare both with the readers. A table has the rules for one value or for
//! the fields of one object. Only the readers have rules that need more, such as a name that another part of the policy
//! defines.

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `true` or `false`.
    Flag,
    /// Only `false`: `true` would have no effect here.
    False,
    /// A whole number.
    Integer {
        /// The minimum.
        least: u64,
        /// The maximum.
        most: u64,
    },
    /// A duration such as `100ms`.
    Duration {
        /// The minimum, in ms.
        least: u64,
        /// The maximum, in ms.
        most: u64,
    },
    /// One of these words.
    Words(&'static [&'static str]),
    /// A text of this form.
    Text(TextForm),
    /// A list.
    List {
        /// The form of its elements.
        of: &'static Shape,
        /// The minimum number of elements.
        least: usize,
        /// Whether two equal elements are an error.
        distinct: bool,
    },
    /// An object with arbitrary keys.
    Map {
        /// The form of its keys.
        keys: TextForm,
        /// The form of its values.
        of: &'static Shape,
        /// The minimum number of keys.
        least: usize,
    },
    /// An object with known fields.
    Object(&'static Object),
    /// One of two forms that differ in their JSON type.
    Either(&'static Shape, &'static Shape),
}

/// The form of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// Any text.
    Any,
    /// At least one byte.
    NotEmpty,
    /// 1 to 256 bytes without control characters.
    Short,
    /// `[A-Za-z0-9._-]{1,64}`.
    Name,
    /// A name, but not `unlimited`.
    RateName,
    /// A header's or a cookie's name, or a method: a token of RFC 9110.
    Token,
    /// `N/period`, `unlimited` or the name of a rate.
    Rate,
    /// `N/period` or `unlimited`.
    PlainRate,
    /// `0%` to `100%`.
    Share,
    /// A share that is not zero.
    PositiveShare,
    /// The beginning of each key in Redis.
    KeyPrefix,
    /// A host and a port, or the name of an Envoy cluster with `|`.
    Service,
    /// The body of a denial, with placeholders.
    Body,
    /// A media type.
    MediaType,
    /// A path, exact or a template.
    Path,
    /// A host, exact or `*.example.com`.
    Host,
    /// A value of a header: without white space around it.
    Value,
    /// A regex.
    Regex,
    /// A regex with one group.
    Extract,
    /// A part of a limit's key.
    KeyPart,
    /// A network with a prefix.
    Network,
    /// 32 hex digits.
    Hash,
}

/// An object with known fields.
#[derive(Debug)]
pub struct Object {
    /// Each field's name and form.
    pub fields: &'static [(&'static str, Shape)],
    /// What must hold between them.
    pub rules: &'static [Rule],
}

/// A rule for the fields of an object.
#[derive(Debug)]
pub enum Rule {
    /// The field is required.
    Required(&'static str),
    /// Exactly one of these fields is present.
    ExactlyOne(&'static [&'static str]),
    /// At least one field is present.
    NotEmpty,
    /// The object has these fields in other places, but they are refused here.
    Without(&'static [&'static str]),
    /// These conditions must not all be met. The first one is for the field that a person should change, unless this
    /// field is absent. The text is the remedy.
    Never(&'static [Check], &'static str),
    /// These fields are required, unless the configuration is the guard's, which has only `role` and
    /// `redis.key_prefix`.
    UnlessGuard(&'static [&'static str]),
}

/// A condition on a field.
pub type Check = (&'static str, Test);

/// The test of a [`Check`] on its field.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    /// The field is written.
    Present,
    /// The field is not written.
    Absent,
    /// The field has this text.
    Is(&'static str),
    /// The field is absent or has another value.
    IsNot(&'static str),
    /// The field is a share above zero.
    Positive,
    /// An object.
    Object,
    /// The field is an object with this field.
    With(&'static str),
    /// The field is a list without this text.
    Lacks(&'static str),
    /// The field is an object that meets all of these conditions, or a list with such an object.
    Some(&'static [Check]),
}

impl Rule {
    /// The fields that the rule always refuses.
    pub fn refused(&self) -> &'static [&'static str] {
        match self {
            Rule::Without(names) => names,
            _ => &[],
        }
    }
}

impl Object {
    /// The names of all fields, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|(name, _)| *name)
    }

    /// The form of a field.
    pub fn shape(&self, name: &str) -> Option<&'static Shape> {
        let field = self.fields.iter().find(|(known, _)| *known == name);
        field.map(|(_, shape)| shape)
    }
}

/// The words of a choice, for its [`Shape::Words`].
pub(super) const fn words<T, const N: usize>(choices: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        // Only evaluated at compile time, where an index out of range is an error of the compiler.
        #[allow(clippy::indexing_slicing)]
        {
            words[index] = choices[index].0;
        }
        index += 1;
    }
    words
}

// Forms that several tables use.
pub(super) const NAME: Shape = Shape::Text(TextForm::Name);
pub(super) const SHORT: Shape = Shape::Text(TextForm::Short);
pub(super) const ANY: Shape = Shape::Text(TextForm::Any);
pub(super) const TOKEN: Shape = Shape::Text(TextForm::Token);
pub(super) const SHARE: Shape = Shape::Text(TextForm::Share);
pub(super) const RATE: Shape = Shape::Text(TextForm::Rate);
pub(super) const HASH: Shape = Shape::Text(TextForm::Hash);
pub(super) const CLIENT_VALUE: Shape = Shape::Text(TextForm::NotEmpty);
/// `enforce`, of all limits and of one.
pub(super) const ENFORCE: Shape = Shape::Either(&Shape::Flag, &SHARE);

/// A list whose elements differ.
pub(super) const fn distinct(of: &'static Shape, least: usize) -> Shape {
    Shape::List {
        of,
        least,
        distinct: true,
    }
}

/// A list that may have equal elements.
pub(super) const fn list(of: &'static Shape, least: usize) -> Shape {
    Shape::List {
        of,
        least,
        distinct: false,
    }
}
