//! Who asks, by their token, and what they may do: all, nothing, or what a ClusterRole's rules say.
//!
//! kubectl sends no token over plain HTTP, so who sends none is the admin, until a test asks for tokens.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// Everyone who is known.
#[derive(Debug)]
pub(super) struct Users {
    /// By token: `admin` may do all, `nobody` nothing.
    rights: BTreeMap<String, Rights>,
    /// Whether who sends no token is anonymous, and may do nothing.
    pub(super) wants_tokens: bool,
}

/// The token in kubeconfigs, unless another is asked for.
pub(super) const ADMIN: &str = "admin";

#[derive(Debug)]
enum Rights {
    All,
    /// `rules` of ClusterRoles.
    Rules(Vec<Value>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Deed<'a> {
    pub(super) verb: &'a str,
    pub(super) kind: &'a Kind,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) below: Option<&'a str>,
}

impl Default for Users {
    fn default() -> Users {
        let users = [(ADMIN, Rights::All), ("nobody", Rights::Rules(Vec::new()))];
        let rights = users.into_iter().map(|(token, rights)| (token.to_owned(), rights)).collect();
        Users { rights, wants_tokens: false }
    }
}

impl Users {
    /// Has a token be that of a user of the same name who may do what `rules` say, and what they said before.
    pub(super) fn grant(&mut self, token: &str, rules: Vec<Value>) {
        match self.rights.entry(token.to_owned()).or_insert(Rights::Rules(Vec::new())) {
            Rights::All => {}
            Rights::Rules(known) => known.extend(rules),
        }
    }

    /// Whether a request may be done.
    pub(super) fn check(&self, token: Option<&str>, deed: &Deed<'_>) -> Result<(), Refusal> {
        let (user, is_allowed) = match token {
            None => ("system:anonymous", !self.wants_tokens),
            Some(token) => match self.rights.get(token) {
                Some(Rights::All) => (token, true),
                Some(Rights::Rules(rules)) => (token, rules.iter().any(|rule| deed.is_allowed_by(rule))),
                None => return Err(unauthorized()),
            },
        };
        if is_allowed { Ok(()) } else { Err(deed.forbidden(user)) }
    }

    /// Whether a token is one of a user's; none is for paths that are open to all.
    pub(super) fn know(&self, token: Option<&str>) -> Result<(), Refusal> {
        match token {
            Some(token) if !self.rights.contains_key(token) => Err(unauthorized()),
            _ => Ok(()),
        }
    }
}

impl Deed<'_> {
    fn resource(&self) -> String {
        match self.below {
            Some(below) => format!("{}/{below}", self.kind.plural),
            None => self.kind.plural.clone(),
        }
    }

    fn is_allowed_by(&self, rule: &Value) -> bool {
        let lists = |field: &str, wanted: &str| {
            let items = rule[field].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).any(|item| item == "*" || item == wanted)
        };
        let named = rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty());
        lists("apiGroups", &self.kind.group)
            && lists("resources", &self.resource())
            && lists("verbs", self.verb)
            && (!named || self.name.is_some_and(|name| lists("resourceNames", name)))
    }

    /// The refusal for somebody who may not.
    pub(super) fn forbidden(&self, user: &str) -> Refusal {
        let Deed { verb, kind, namespace, name, .. } = self;
        let which = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
        let place = match namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let message = format!(
            "{}{which} is forbidden: User \"{user}\" cannot {verb} resource \"{}\" in API group \"{}\" {place}",
            kind.resource(),
            self.resource(),
            kind.group,
        );
        Refusal::new(403, "Forbidden", message).of(kind, name.unwrap_or_default())
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(401, "Unauthorized", "Unauthorized")
}
