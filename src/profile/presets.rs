//! The built-in providers, and the order of all providers.

use std::collections::BTreeMap;

use crate::profile::{
    provider::Provider,
    provider_document::{ProviderDocument, ProviderError},
};

/// The presets that come first wherever finmcp lists or selects one.
const FIRST: [&str; 4] = ["asset", "tesorio", "masset", "demo"];

/// The vendors built into this binary.
///
/// # Errors
/// [`ProviderError`] if the embedded data is invalid, which a test rules out.
pub fn built_in() -> Result<BTreeMap<String, Provider>, ProviderError> {
    let documents: BTreeMap<String, ProviderDocument> = toml_edit::de::from_str(include_str!("providers.toml"))
        .map_err(|error| ProviderError { id: "built-in".to_owned(), why: error.to_string() })?;
    let provider = |(id, document): (String, ProviderDocument)| {
        Ok((id.clone(), Provider { is_built_in: true, ..document.validate(id)? }))
    };
    documents.into_iter().map(provider).collect()
}

/// Whether `id` is one of the presets that come first.
pub fn is_first(id: &str) -> bool {
    FIRST.contains(&id)
}

/// `providers` in the order to list them in: the first presets, the user's own, then the other built-in ones by name.
pub fn ordered(providers: &BTreeMap<String, Provider>) -> Vec<&Provider> {
    let mut ordered: Vec<&Provider> = providers.values().collect();
    ordered.sort_by_key(|provider| rank(provider));
    ordered
}

/// The place of `provider` in the order; equal for those that are ordered by name.
pub fn rank(provider: &Provider) -> usize {
    match FIRST.iter().position(|id| *id == provider.id) {
        Some(position) => position,
        None if provider.is_built_in => FIRST.len() + 1,
        None => FIRST.len(),
    }
}

#[cfg(test)]
mod tests;
