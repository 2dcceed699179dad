//! What `doctor` reports: a finding has a stable id, one line that explains it, what was seen, and the remedy.

use serde::Serialize;

/// How much a finding matters to whether requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiagnosisLevel {
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
pub struct Diagnosis {
    /// Stable: scripts may rely on it.
    pub id: &'static str,
    pub severity: DiagnosisLevel,
    /// The instance of Headgate; empty: all of this Envoy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    pub message: String,
    pub evidence: Vec<String>,
    pub remedy: String,
}

impl DiagnosisLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            DiagnosisLevel::Note => "note",
            DiagnosisLevel::Warning => "warning",
            DiagnosisLevel::Error => "error",
            DiagnosisLevel::Unreadable => "unreadable",
        }
    }

    /// The exit status if this is the worst.
    pub fn status(self) -> u8 {
        match self {
            DiagnosisLevel::Note | DiagnosisLevel::Warning => 0,
            DiagnosisLevel::Error => 1,
            DiagnosisLevel::Unreadable => 2,
        }
    }
}

impl Diagnosis {
    fn new(
        id: &'static str,
        severity: DiagnosisLevel,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnosis {
        Diagnosis {
            id,
            severity,
            instance: String::new(),
            message: message.into(),
            evidence: Vec::new(),
            remedy: remedy.into(),
        }
    }

    pub fn error(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
        Diagnosis::new(id, DiagnosisLevel::Error, message, remedy)
    }

    pub fn warning(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
        Diagnosis::new(id, DiagnosisLevel::Warning, message, remedy)
    }

    pub fn note(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
        Diagnosis::new(id, DiagnosisLevel::Note, message, remedy)
    }

    pub fn unreadable(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Diagnosis {
        Diagnosis::new(id, DiagnosisLevel::Unreadable, message, remedy)
    }

    /// Adds evidence. Empty evidence is ignored.
    pub fn seen(mut self, evidence: impl Into<String>) -> Diagnosis {
        let evidence = evidence.into();
        if !evidence.is_empty() {
            self.evidence.push(evidence);
        }
        self
    }

    pub fn of(mut self, instance: &str) -> Diagnosis {
        self.instance = instance.to_owned();
        self
    }
}
