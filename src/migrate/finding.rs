//! What a person has to know: each finding has a stable code, a place, a reason and a way out. Pure.

use serde::Serialize;
use strum::{EnumIter, IntoStaticStr};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// A person has to decide or to repair; what it concerns is not planned, or may be planned wrong.
    Error,
    /// It does not migrate by itself, or may behave differently afterwards.
    Warning,
    /// Good to know.
    Info,
}

/// What was found. The name in kebab case is stable, and has its heading in `docs/migrate-findings.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[allow(missing_docs)] // docs/migrate-findings.md explains each, and a test compares the two
pub enum Code {
    // Reading.
    Unreadable,
    TooLarge,
    Binary,
    NotUtf8,
    NotParseable,
    Template,
    TextOnly,
    DuplicateKey,
    KustomizationUnresolved,
    DefinedTwice,
    DefinedDifferently,
    NamespaceMissing,
    ClusterForbidden,
    OtherNamespaces,
    WebhookMissing,
    // Identities.
    IdentityType,
    AuxiliaryTenants,
    ResourceIdMissing,
    ResourceIdInvalid,
    ClientIdInvalid,
    ClientIdConflict,
    UnresolvedValue,
    OddCasing,
    OddCasingConflict,
    BehaviorSpelling,
    OrphanIdentity,
    // Bindings.
    BindingIncomplete,
    InvalidSelector,
    DanglingBinding,
    OrphanBinding,
    // The join.
    NamespacedMode,
    NamespaceMismatch,
    CrossNamespace,
    OtherKustomization,
    AmbiguousEnvironment,
    DeadLabel,
    LabelNotOnPods,
    LabelAsAnnotation,
    LabelElsewhere,
    SeveralIdentities,
    TooManyIdentities,
    Exception,
    // Workloads.
    PatchWithoutBase,
    LabelInSelector,
    ImmutableTemplate,
    NewServiceAccount,
    ServiceAccountShared,
    HostNetwork,
    Windows,
    AzureEnvironment,
    TokenByHand,
    OldApiVersion,
    // Components that have their own way to say it.
    SecretProviderClass,
    SecretProviderClassShared,
    KedaProvider,
    ComponentSetting,
    // The end.
    CredentialLimit,
    Installation,
    AssignedIdentity,
    Leftover,
}

impl Code {
    /// The name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::Unreadable
            | Self::KustomizationUnresolved
            | Self::ClusterForbidden
            | Self::WebhookMissing
            | Self::DefinedDifferently
            | Self::IdentityType
            | Self::AuxiliaryTenants
            | Self::ResourceIdMissing
            | Self::ResourceIdInvalid
            | Self::ClientIdConflict
            | Self::OddCasingConflict
            | Self::AmbiguousEnvironment
            | Self::TooManyIdentities
            | Self::PatchWithoutBase
            | Self::SecretProviderClassShared
            | Self::CredentialLimit => Severity::Error,
            Self::Binary
            | Self::Template
            | Self::NamespaceMissing
            | Self::OrphanIdentity
            | Self::OrphanBinding
            | Self::NamespacedMode
            | Self::CrossNamespace
            | Self::OtherKustomization
            | Self::DefinedTwice
            | Self::Installation
            | Self::AssignedIdentity => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

/// A place in a file, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Path as given, or `-`.
    pub file: String,
    /// Line, from 1; 0 stands for the file as a whole.
    pub line: u32,
    /// Document of the file, from 0.
    pub document: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}", self.file, self.line)
        }
    }
}

/// Something that a person has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// What it concerns: `Deployment shop/web`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Kustomization that it was seen through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The reason.
    pub reason: String,
    /// What to do.
    pub action: String,
}

impl Finding {
    /// A finding about something at a place.
    pub fn new(code: Code, place: Place, reason: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            severity: code.severity(),
            code,
            place,
            subject: String::new(),
            environment: None,
            reason: reason.into(),
            action: action.into(),
        }
    }

    /// The same, about an object.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// The same, seen through a kustomization.
    #[must_use]
    pub fn within(mut self, environment: Option<&str>) -> Self {
        self.environment = environment.map(str::to_owned);
        self
    }
}
