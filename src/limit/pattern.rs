//! What `match` compares with: paths, hosts and header values, compiled once at configuration.

use std::fmt;

/// A path condition over a normalised path: exact, or with `*`, `{id}` and `**`, or a regex over the whole path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
}

/// A host without a port, compared in any case: exact or `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    text: String,
}

/// A header's value: exact, `*` (present) or a regex over the whole value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuePattern {
    text: String,
}

/// Why a pattern cannot be compiled; the text is for the person who wrote it and names the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PathPattern {
    pub fn template(text: &str) -> Result<Self, PatternError> {
        Ok(PathPattern {
            text: text.to_owned(),
        })
    }
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(PathPattern {
            text: text.to_owned(),
        })
    }
}

impl HostPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Ok(HostPattern {
            text: text.to_owned(),
        })
    }
}

impl ValuePattern {
    /// Exact, or `*` for any value.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        Ok(ValuePattern {
            text: text.to_owned(),
        })
    }
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        Ok(ValuePattern {
            text: text.to_owned(),
        })
    }
}
