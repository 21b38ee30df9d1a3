//! How paths are made canonical before they are matched, and which are refused.

use serde::Deserialize;
use trysail_routing::path::{Form, Forms, Normalization, PathRules};

use super::Settings;

/// The setting behind [`Normalization`], in Istio's words.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum PathNormalization {
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

/// The setting behind [`Forms`], in words like Istio's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum PathForm {
    EscapedSlash,
    Backslash,
    Semicolon,
    ZeroByte,
    BrokenEscape,
    DoubleEscape,
    NotUtf8,
    /// All of these.
    All,
}

impl Settings {
    /// How paths are made canonical, and which are refused.
    pub(crate) fn paths(&self) -> PathRules {
        let refused = self.path_refuse.iter().fold(Forms::NONE, |forms, form| match form {
            PathForm::EscapedSlash => forms.with(Form::EscapedSlash),
            PathForm::Backslash => forms.with(Form::Backslash),
            PathForm::Semicolon => forms.with(Form::Semicolon),
            PathForm::ZeroByte => forms.with(Form::ZeroByte),
            PathForm::BrokenEscape => forms.with(Form::BrokenEscape),
            PathForm::DoubleEscape => forms.with(Form::DoubleEscape),
            PathForm::NotUtf8 => forms.with(Form::NotUtf8),
            PathForm::All => Forms::ALL,
        });
        let normalization = match self.path_normalization {
            PathNormalization::None => Normalization::None,
            PathNormalization::Base => Normalization::Base,
            PathNormalization::MergeSlashes => Normalization::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes => Normalization::DecodeAndMergeSlashes,
        };
        PathRules { normalization, refused }
    }
}
