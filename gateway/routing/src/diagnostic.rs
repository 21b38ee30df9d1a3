//! What is wrong with a configuration, where, and what to do about it: findings, and the list they gather in.
//!
//! Reading and compiling never stop at the first fault and never print: they add to a [`Diagnostics`], and
//! the outer rooms decide what an error means (refuse the revision, leave out the object, exit 1).

use crate::origin::Origin;

/// A finding's stable code: Istio's `IST0xxx` where `istioctl analyze` means the same, else `TRY0xxx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    /// The code itself, as people search for it.
    pub id: &'static str,
    /// Its name in one CamelCase word.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub about: &'static str,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $constant:ident = $id:literal $name:literal;)*) => {
        impl Code {
            $($(#[doc = $doc])* pub const $constant: Code =
                Code { id: $id, name: $name, about: concat!($($doc),*) };)*
            /// Every code there is, for documentation and tests.
            pub const ALL: &'static [Code] = &[$(Code::$constant),*];
        }
    };
}

codes! {
    /// A field that Istio will take away, or has replaced by another.
    DEPRECATED = "IST0002" "Deprecated";
    /// A gateway, host or subset that is named but not there.
    REFERENCED_RESOURCE_NOT_FOUND = "IST0101" "ReferencedResourceNotFound";
    /// The object breaks its schema or Istio's validation.
    SCHEMA_VALIDATION = "IST0106" "SchemaValidationError";
    /// A destination without a port, of a service that has several.
    DESTINATION_PORT_REQUIRED = "IST0112" "VirtualServiceDestinationPortSelectorRequired";
    /// TLS towards a host without authorities of its own to trust.
    NO_CA_FOR_HOST = "IST0128" "NoServerCertificateVerificationDestinationLevel";
    /// TLS towards a host's port without authorities of its own to trust.
    NO_CA_FOR_PORT = "IST0129" "NoServerCertificateVerificationPortLevel";
    /// A rule that nothing can reach: behind one that takes every request, or without a server for it.
    UNREACHABLE_RULE = "IST0130" "VirtualServiceUnreachableRule";
    /// A block of conditions behind one that takes all that it takes.
    INEFFECTIVE_MATCH = "IST0131" "VirtualServiceIneffectiveMatch";
    /// A VirtualService's host that none of its gateways' servers admits.
    HOST_NOT_FOUND_IN_GATEWAY = "IST0132" "VirtualServiceHostNotFoundInGateway";
    /// What Istio's validation accepts, and is hardly meant as written.
    SCHEMA_WARNING = "IST0133" "SchemaWarning";
    /// A split for sidecars, of a host that requests reach through a gateway.
    RULES_NOT_AT_GATEWAY = "IST0140" "IngressRouteRulesNotAffected";
    /// Two servers that can't both have a port or a host.
    CONFLICTING_GATEWAYS = "IST0145" "ConflictingGateways";
    /// A condition on a claim of a token that nothing has verified.
    JWT_CLAIM_WITHOUT_AUTHENTICATION = "IST0149" "JwtClaimBasedRoutingWithoutRequestAuthN";
    /// A credential that is there, and is none.
    INVALID_CREDENTIAL = "IST0161" "InvalidGatewayCredential";
    /// A destination without endpoints: a subset whose labels none carries, or a host that has none.
    SUBSET_SELECTS_NOTHING = "IST0173" "DestinationRuleSubsetNotSelectPods";
    /// A DestinationRule for a host that is not there.
    UNKNOWN_DESTINATION_RULE_HOST = "IST0174" "UnknownDestinationRuleHost";
    /// Two ServiceEntries that say of one port of one host that it speaks different protocols.
    CONFLICTING_PROTOCOL = "IST0177" "ConflictingServiceEntryProtocol";
    /// The text is not YAML.
    SYNTAX = "TRY0001" "SyntaxError";
    /// A file or directory that cannot be read, or is over a limit.
    UNREADABLE = "TRY0002" "Unreadable";
    /// A field of Istio's API that this version does not execute.
    UNSUPPORTED_FIELD = "TRY0003" "UnsupportedField";
    /// A kind that is not read.
    IGNORED_KIND = "TRY0004" "IgnoredKind";
    /// Two objects of one kind, namespace and name.
    DUPLICATE_OBJECT = "TRY0005" "DuplicateObject";
    /// An annotation `trysail.dev/…` that does not exist.
    UNKNOWN_ANNOTATION = "TRY0006" "UnknownAnnotation";
    /// An object that no gateway of this process uses.
    NOT_FOR_US = "TRY0007" "NotForThisGateway";
    /// A port that cannot be opened.
    PORT = "TRY0008" "PortUnavailable";
    /// Weights that were brought to a smaller sum.
    WEIGHTS_SCALED = "TRY0009" "WeightsScaled";
    /// What only a mesh can give.
    NEEDS_MESH = "TRY0010" "NeedsMesh";
    /// A revision without any object, after one that had some.
    EMPTY = "TRY0011" "EmptyConfiguration";
    /// A rule of a delegate that cannot stand in for its root's.
    DELEGATE = "TRY0012" "DelegateLeftOut";
    /// Settings that are others now than those the process was started with.
    NEEDS_RESTART = "TRY0019" "NeedsRestart";
    /// Outlier detection whose percentage lets no endpoint go.
    EJECTS_NOBODY = "TRY0015" "EjectsNobody";
    /// What an imported object asks for and this gateway has not.
    NOT_CARRIED_OVER = "TRY0030" "NotCarriedOver";
    /// What an imported object is protected by, and would not be here.
    PROTECTION_NOT_CARRIED_OVER = "TRY0031" "ProtectionNotCarriedOver";
    /// What an imported object asks for and is done in another way here.
    CARRIED_OVER_DIFFERENTLY = "TRY0032" "CarriedOverDifferently";
}

/// How bad a finding is. What each severity does is the source's policy, not decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; never counted.
    Note,
    /// Probably not meant; applied all the same.
    Warning,
    /// Cannot be applied as written.
    Error,
}

impl Severity {
    /// The word that is printed before the code.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of fault.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is written; `None` only for faults of the process, not of a file.
    pub origin: Option<Origin>,
    /// The object, as `VirtualService default/reviews`; empty where there is none.
    pub object: String,
    /// The field, as `spec.http[0].route[1].destination.subset`; empty where there is none.
    pub path: String,
    /// What is wrong, in lower case, naming the value.
    pub message: String,
    /// What would be right, or what helps to find out.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// A finding about a file, a directory or the process: one that has no object or field.
    pub fn new(code: Code, severity: Severity, origin: Option<Origin>, message: impl Into<String>) -> Self {
        let (object, path) = (String::new(), String::new());
        Diagnostic { code, severity, origin, object, path, message: message.into(), hints: Vec::new() }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Findings, in the order in which they were met. At most [`Diagnostics::MOST`] are kept, so that a file full
/// of faults cannot fill the memory; those over it are counted.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    /// How many were not kept: notes, warnings, errors.
    left_out: [usize; 3],
    /// Fields that were written and could not be read, by their map's node, since they were last asked for.
    unread: Vec<(u32, &'static str)>,
}

impl Diagnostics {
    /// How many findings are kept.
    pub const MOST: usize = 10_000;

    /// Adds a finding and hands it back for hints.
    pub fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        if self.kept.len() >= Self::MOST
            && let Some(last) = self.kept.pop()
        {
            self.left_out[last.severity as usize] += 1;
        }
        self.kept.push(diagnostic);
        self.kept.last_mut().expect("just pushed")
    }

    /// Notes that a field of the map at a node is written and could not be read, or not all of it.
    pub(crate) fn note_unread(&mut self, node: u32, field: &'static str) {
        self.unread.push((node, field));
    }

    /// The fields noted since the last time.
    pub(crate) fn take_unread(&mut self) -> Vec<(u32, &'static str)> {
        std::mem::take(&mut self.unread)
    }

    /// How many findings there were beside those that were kept.
    pub fn left_out(&self) -> usize {
        self.left_out.iter().sum()
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        other.into_iter().for_each(|diagnostic| {
            self.push(diagnostic);
        });
    }

    /// Counts what `other` did not keep as not kept here either.
    pub(crate) fn leave_out(&mut self, other: &Diagnostics) {
        self.left_out.iter_mut().zip(other.left_out).for_each(|(sum, more)| *sum += more);
    }

    /// The findings in the order in which they were met.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.kept.iter()
    }

    /// The same, to fill in what only a later room knows.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Diagnostic> {
        self.kept.iter_mut()
    }

    /// How many there are of one severity, kept or not.
    pub fn count(&self, severity: Severity) -> usize {
        self.left_out[severity as usize] + self.kept.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Whether there is no finding at all.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Brings findings into the order in which a person reads files: by file, line and column; those
    /// without a place last. Errors are not put first: a list in file order is worked off top to bottom.
    pub fn sort(&mut self) {
        self.kept.sort_by_cached_key(|d| {
            let place = d.origin.as_ref().map(|o| (o.piece.file.clone(), o.line(), o.column()));
            (place.is_none(), place)
        });
    }
}

impl Diagnostics {
    /// Leaves out what was said before of the same place: a rule may be compiled in several places. They are to be
    /// sorted.
    pub(crate) fn say_once(&mut self) {
        let mut last: Option<Origin> = None;
        let mut said: Vec<(Code, String, String)> = Vec::new();
        self.kept.retain(|finding| {
            if finding.origin.is_none() || finding.origin != last {
                last.clone_from(&finding.origin);
                said.clear();
            }
            let words = (finding.code, finding.object.clone(), finding.message.clone());
            let new = !said.contains(&words);
            said.push(words);
            new || finding.origin.is_none()
        });
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_whatever_comes_after_it() {
        let mut findings = Diagnostics::default();
        let add = |findings: &mut Diagnostics, severity| {
            findings.push(Diagnostic::new(Code::SYNTAX, severity, None, "x"));
        };
        (0..Diagnostics::MOST).for_each(|_| add(&mut findings, Severity::Warning));
        add(&mut findings, Severity::Error);
        add(&mut findings, Severity::Warning);
        assert!(findings.has_errors());
        assert_eq!((findings.iter().len(), findings.left_out()), (Diagnostics::MOST, 2));
        assert_eq!(
            (findings.count(Severity::Error), findings.count(Severity::Warning)),
            (1, Diagnostics::MOST + 1)
        );
    }
}
