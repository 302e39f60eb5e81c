//! A profile's table in `config.toml`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, MapAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use crate::{
    credential::record::Identity,
    login::options::{Options, OptionsDocument},
    profile::{Profile, provider::Provider},
    server_url::ServerUrl,
};

/// What differs from the profile's preset, and the sign-in.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ProfileDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(flatten)]
    options: OptionsDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_in: Option<IdentityDocument>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IdentityDocument {
    /// The server that the sign-in is for. If the user edits the profile's `url`, the sign-in does not apply to the new
    /// server.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    issuer: String,
    resource: String,
    client_id: String,
    account: String,
}

impl IdentityDocument {
    /// Whether the sign-in is for `server`. Earlier versions did not save the URL; assume that it is.
    fn is_for(&self, server: &ServerUrl) -> bool {
        self.url.as_ref().is_none_or(|url| url == server.as_str())
    }

    fn identity(self, environment: String) -> Identity {
        let Self { issuer, resource, client_id, account, .. } = self;
        Identity { environment, issuer, resource, client_id, account }
    }
}

impl ProfileDocument {
    /// Validates this document as the profile `name`.
    ///
    /// # Errors
    /// A description of the problem.
    pub(crate) fn profile(&self, name: &str, providers: &BTreeMap<String, Provider>) -> Result<Profile, String> {
        let provider = match &self.provider {
            Some(id) => Some(providers.get(id).ok_or_else(|| format!("there is no provider {id:?}"))?),
            None => None,
        };
        let preset = match provider {
            Some(provider) => Some(
                provider
                    .environment(self.environment.as_deref())
                    .ok_or_else(|| format!("{} has no such environment", provider.title))?,
            ),
            None => None,
        };
        let url = self.url.as_deref().map(str::parse).transpose().map_err(|error| format!("url: {error}"))?;
        let preset_url = preset.and_then(|(_, environment)| environment.server.clone());
        let server = url.or_else(|| preset_url.clone()).ok_or("it has no url")?;
        let own = self.options.options()?;
        let mut from_preset = match (provider, preset) {
            (Some(provider), Some((_, environment))) => provider.options(environment),
            _ => Options::default(),
        };
        if preset_url.as_ref() != Some(&server) {
            // The preset's endpoints and headers are for the preset's server only.
            from_preset = from_preset.for_another_server();
        }
        let environment = preset.map_or("", |(name, _)| name).to_owned();
        Ok(Profile {
            name: name.to_owned(),
            provider: self.provider.clone(),
            title: provider.map_or_else(|| server.host(), |provider| provider.title.clone()),
            signed_in: self
                .signed_in
                .clone()
                .filter(|identity| identity.is_for(&server))
                .map(|identity| identity.identity(environment.clone())),
            environment,
            saved: true,
            moved: false,
            server,
            options: own.or(from_preset),
        })
    }

    /// The preset that it names.
    pub(crate) fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// The last sign-in, even if it was for a server that the profile no longer names.
    pub fn last_sign_in(&self) -> Option<Identity> {
        let environment = self.environment.clone().unwrap_or_default();
        self.signed_in.clone().map(|identity| identity.identity(environment))
    }
}

impl From<&Profile> for ProfileDocument {
    fn from(profile: &Profile) -> Self {
        Self {
            provider: profile.provider.clone(),
            environment: Some(profile.environment.clone()).filter(|name| !name.is_empty()),
            url: Some(profile.server.as_str().to_owned()),
            options: OptionsDocument::from(&profile.options),
            signed_in: profile.signed_in.clone().map(|identity| IdentityDocument {
                url: Some(profile.server.to_string()),
                issuer: identity.issuer,
                resource: identity.resource,
                client_id: identity.client_id,
                account: identity.account,
            }),
        }
    }
}

// A hand-written `flatten`, because serde's loses the position of errors. Reads the members of `options` in place.

impl<'de> Deserialize<'de> for ProfileDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WholeTable)
    }
}

struct WholeTable;

impl<'de> Visitor<'de> for WholeTable {
    type Value = ProfileDocument;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ProfileDocument, A::Error> {
        let mut own = ProfileDocument::default();
        let options = OptionsDocument::deserialize(OptionsOf { table, own: &mut own, names: &[] })?;
        Ok(ProfileDocument { options, ..own })
    }
}

/// Presents only the members of `options`, and stores the others in `own`.
struct OptionsOf<'o, A> {
    table: A,
    own: &'o mut ProfileDocument,
    /// The names of the options.
    names: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for OptionsOf<'_, A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_map(Self { names, ..self })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OptionsOf<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            match self.table.next_key_seed(Name { seed: &mut seed, names: self.names })? {
                None => return Ok(None),
                Some(Member::Option(name)) => return Ok(Some(name)),
                Some(Member::Provider) => self.own.provider = self.table.next_value()?,
                Some(Member::Environment) => self.own.environment = self.table.next_value()?,
                Some(Member::Url) => self.own.url = self.table.next_value()?,
                Some(Member::SignedIn) => self.own.signed_in = self.table.next_value()?,
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.table.next_value_seed(seed)
    }
}

enum Member<T> {
    Provider,
    Environment,
    Url,
    SignedIn,
    Option(T),
}

struct Name<'s, K> {
    seed: &'s mut Option<K>,
    names: &'static [&'static str],
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, K> {
    type Value = Member<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<'_, K> {
    type Value = Member<K::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        match (name, self.seed.take_if(|_| self.names.contains(&name))) {
            ("provider", _) => Ok(Member::Provider),
            ("environment", _) => Ok(Member::Environment),
            ("url", _) => Ok(Member::Url),
            ("signed_in", _) => Ok(Member::SignedIn),
            (_, Some(seed)) => seed.deserialize(StrDeserializer::new(name)).map(Member::Option),
            (_, None) => {
                let known = ["provider", "environment", "url"].iter().chain(self.names).chain(&["signed_in"]);
                let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
                Err(E::custom(format!("unknown field `{name}`, expected one of {}", known.join(", "))))
            }
        }
    }
}
