//! What `doctor` reports: a finding has a stable id, one line that explains it, what was seen, and the remedy.

use serde::Serialize;

/// How much a finding matters to whether requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The state is intended, and worth knowing.
    Note,
    /// Requests are counted; something else is not as it should be.
    Warning,
    /// Requests are not counted, or not all of them, or not together.
    Error,
    /// It is unknown whether requests are counted.
    Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable: scripts may rely on it.
    pub id: &'static str,
    pub severity: Severity,
    /// The instance of Headgate; empty: all of this Envoy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    pub message: String,
    pub evidence: Vec<String>,
    pub remedy: String,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Unreadable => "unreadable",
        }
    }

    /// The exit status if this is the worst.
    pub fn status(self) -> u8 {
        match self {
            Severity::Note | Severity::Warning => 0,
            Severity::Error => 1,
            Severity::Unreadable => 2,
        }
    }
}

impl Finding {
    fn new(
        id: &'static str,
        severity: Severity,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            id,
            severity,
            instance: String::new(),
            message: message.into(),
            evidence: Vec::new(),
            remedy: remedy.into(),
        }
    }

    pub fn error(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(id, Severity::Error, message, remedy)
    }

    pub fn warning(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(id, Severity::Warning, message, remedy)
    }

    pub fn note(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(id, Severity::Note, message, remedy)
    }

    pub fn unreadable(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(id, Severity::Unreadable, message, remedy)
    }

    /// Adds evidence. Empty evidence is ignored.
    pub fn seen(mut self, evidence: impl Into<String>) -> Finding {
        let evidence = evidence.into();
        if !evidence.is_empty() {
            self.evidence.push(evidence);
        }
        self
    }

    pub fn of(mut self, instance: &str) -> Finding {
        self.instance = instance.to_owned();
        self
    }
}
