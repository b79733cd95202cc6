//! Which store the bucket of an entry is in, and how it is used there.
//!
//! Owns: [`StoreKeys`], the keys `store`, `region` and `account` of an entry, which make a URI of a bucket's name and have to agree with a URI
//! that is there; and [`settings`], those of `config` that go with the bucket.
//!
//! # What decides where nothing is said
//! A bucket by `name` alone is in the first store that the caller has credentials for, in S3 where there are none: a machine's role shows in
//! no variable and no file, and so no mistake is made of that. A store that needs a region or an account is passed over where that is not
//! known, and a note says so.

use super::Note;
use super::bucket::mistake_of;
use super::fields::{STORES, SWITCH};
use super::local::Caller;
use super::mistakes::{Mistake, Mistakes};
use super::reader::{Object, Reader, Word};
use super::yaml::{Key, Node, Place, Value};
use pail_control::credential_sources::stores_with_credentials;
use pail_control::{BucketSettings, CallerEnvironment, Failure};
use pail_store::{BucketUri, IBM_REGIONS, StoreKind, check_account, check_region};

/// Variables that name a storage account, in the order in which they count.
const ACCOUNT_VARIABLES: &[&str] = &["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"];
const REGION_VARIABLE: &str = "IBM_COS_REGION";

/// The keys of an entry that say which store its bucket is in.
#[derive(Debug, Default)]
pub struct StoreKeys {
    kind: Option<(StoreKind, Place)>,
    /// `store` names one that is not supported.
    is_unknown: bool,
    region: Option<Word>,
    account: Option<Word>,
    has_endpoint: bool,
}

impl StoreKeys {
    /// Reads them. What is wrong with one alone is kept as a mistake.
    pub fn read(reader: Reader<'_>, object: &Object<'_>, mistakes: &mut Mistakes) -> Self {
        let place = |name: &str| object.get(name).map_or(object.place, |node| node.place);
        let mut keys = Self {
            region: reader.word_of(object, "region"),
            account: reader.word_of(object, "account"),
            has_endpoint: object.get("endpoint").is_some(),
            ..Self::default()
        };
        if let Some(word) = reader.choice_of(object, "store", STORES) {
            keys.kind = StoreKind::of_word(word).map(|kind| (kind, place("store")));
            if keys.kind.is_none() {
                keys.is_unknown = true;
                let what = format!("store {word} is not supported");
                mistakes.add(Mistake::new(place("store"), what).with_hint(
                    "where that store has an S3 interface, write `store: s3` and its URL as `endpoint:`",
                ));
            }
        }
        if let Some(account) = &keys.account
            && let Err(err) = check_account(&account.value)
        {
            mistakes.add(mistake_of(&err, account));
        }
        keys
    }

    /// The kind of store of a bucket by name; nothing where `store` is wrong. A note says what was found where nothing was said.
    pub fn kind_of_name(
        &self,
        name: &Word,
        caller: &Caller,
        config: &Config,
        notes: &mut Vec<Note>,
    ) -> Option<StoreKind> {
        match self.kind {
            Some((kind, _)) => return Some(kind),
            None if self.is_unknown => return None,
            None if self.has_endpoint => return Some(StoreKind::S3),
            None if self.account.is_some() => return Some(StoreKind::Azure),
            None => {}
        }
        let is_known = |kind: &StoreKind| match kind {
            StoreKind::Ibm => self.region.is_some() || caller.variables.get(REGION_VARIABLE).is_some(),
            StoreKind::Azure => config.account.is_some() || account_of(&caller.variables).is_some(),
            _ => true,
        };
        let with_credentials = stores_with_credentials(&caller.variables);
        let found = with_credentials.iter().copied().find(is_known);
        let kind = found.unwrap_or(StoreKind::S3);
        let passed_over = with_credentials.iter().take_while(|store| Some(**store) != found);
        notes.extend(
            passed_over.map(|store| Note { place: name.place, what: passed_over_note(*store, kind, name) }),
        );
        if kind != StoreKind::S3 {
            let (word, label) = (kind.word(), kind.label());
            let what = format!(
                "{:?} is taken for a {} of {label}, the first store that there are credentials for; `store: {word}` says so",
                name.shown,
                kind.noun()
            );
            notes.push(Note { place: name.place, what });
        }
        Some(kind)
    }

    /// The URI of the bucket `name` in a store of `kind`. Errors: the region or the account is missing, or wrong; a key that is another store's.
    pub fn uri_of_name(
        &self,
        kind: StoreKind,
        name: &Word,
        caller: &Caller,
        config: &Config,
    ) -> Result<BucketUri, Mistake> {
        self.check_for(kind)?;
        let scope = match kind {
            StoreKind::S3 | StoreKind::Gcs | StoreKind::R2 => None,
            StoreKind::Ibm => Some(self.ibm_region(name, caller)?),
            StoreKind::Azure => Some(self.azure_account(name, caller, config)?),
        };
        Ok(BucketUri { kind, scope, bucket: name.value.clone(), prefix: String::new() })
    }

    /// Errors: a key that contradicts the URI at `word`.
    pub fn check_uri(&self, uri: &BucketUri, word: &Word) -> Result<(), Mistake> {
        let form = uri.kind.form();
        if let Some((kind, place)) = self.kind.filter(|(kind, _)| *kind != uri.kind) {
            let what = format!(
                "`store: {}` and the source contradict each other: {form} is of {}",
                kind.word(),
                uri.kind.label()
            );
            return Err(Mistake::new(place, what).with_hint("leave out `store`: the URI says it"));
        }
        self.check_for(uri.kind)?;
        for (key, given) in [("region", &self.region), ("account", &self.account)] {
            let Some(given) = given else { continue };
            if uri.scope.as_ref().is_some_and(|scope| *scope != given.value) {
                let what = format!("`{key}` and {:?} contradict each other", word.shown);
                return Err(
                    Mistake::new(given.place, what).with_hint(format!("leave out `{key}`: {form} has it"))
                );
            }
        }
        Ok(())
    }

    /// Where a bucket that is created is to be, where the URI does not say it.
    pub fn region(&self, kind: StoreKind) -> Option<String> {
        self.region.as_ref().filter(|_| kind != StoreKind::Ibm).map(|word| word.value.clone())
    }

    /// Refuses the keys of other stores.
    fn check_for(&self, kind: StoreKind) -> Result<(), Mistake> {
        let label = kind.label();
        match (kind, &self.region, &self.account) {
            (StoreKind::Azure, Some(region), _) => {
                let what = "the region of a container is that of its storage account";
                Err(Mistake::new(region.place, what).with_hint("leave out `region`"))
            }
            (StoreKind::Azure, None, _) | (_, _, None) => Ok(()),
            (_, _, Some(account)) => {
                let what = format!("`account` is Azure's, and the bucket is of {label}");
                Err(Mistake::new(account.place, what)
                    .with_hint("leave out `account`, or write `store: azure`"))
            }
        }
    }

    fn ibm_region(&self, name: &Word, caller: &Caller) -> Result<String, Mistake> {
        if let Some(region) = &self.region {
            check_region(&region.value).map_err(|err| mistake_of(&err, region))?;
            return Ok(region.value.clone());
        }
        let Some(region) = caller.variables.get(REGION_VARIABLE) else {
            let what = "a bucket by `name` in IBM Cloud Object Storage needs its region";
            return Err(Mistake::new(name.place, what)
                .with_hint(format!("add region: REGION, one of {}", IBM_REGIONS.join(", "))));
        };
        check_region(region).map_err(|err| {
            Mistake::new(name.place, format!("{REGION_VARIABLE}: {err}")).with_hint(err.form_hint())
        })?;
        Ok(region.to_owned())
    }

    fn azure_account(&self, name: &Word, caller: &Caller, config: &Config) -> Result<String, Mistake> {
        if let Some(account) = self.account.as_ref().or(config.account.as_ref()) {
            check_account(&account.value).map_err(|err| mistake_of(&err, account))?;
            return Ok(account.value.clone());
        }
        let Some((variable, account)) = account_of(&caller.variables) else {
            let what = "a container by `name` in Azure Blob Storage needs its storage account";
            return Err(
                Mistake::new(name.place, what).with_hint("add account: NAME, or set AZURE_STORAGE_ACCOUNT")
            );
        };
        check_account(&account).map_err(|err| {
            // A connection string is secret, and what is taken out of one may be as well.
            let what = format!("{variable} names no storage account: {}", err.rule);
            Mistake::new(name.place, what).with_hint("add account: NAME")
        })?;
        Ok(account)
    }
}

/// What is said of a store that there are credentials for, and that a bucket by name is not in for want of more.
fn passed_over_note(store: StoreKind, kind: StoreKind, name: &Word) -> String {
    let missing = match store {
        StoreKind::Azure => "account",
        _ => "region",
    };
    format!(
        "there are credentials for {}, but its {missing} is not known: {:?} is taken for a {} of {}; if it is in the former, write `store: {}` and `{missing}:`, and else `store: {}`",
        store.label(),
        name.shown,
        kind.noun(),
        kind.label(),
        store.word(),
        kind.word()
    )
}

/// The storage account that variables name, and which of them.
fn account_of(variables: &CallerEnvironment) -> Option<(&'static str, String)> {
    const STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
    let named = ACCOUNT_VARIABLES.iter().find_map(|name| Some((*name, variables.get(name)?.to_owned())));
    named.or_else(|| {
        let account =
            variables.get(STRING)?.split(';').find_map(|part| part.trim().strip_prefix("AccountName="))?;
        Some((STRING, account.to_owned()))
    })
}

/// What a task's own `config` says of stores, as SkyPilot has it.
#[derive(Debug, Default)]
pub struct Config {
    /// `azure: {storage_account: NAME}`.
    account: Option<Word>,
    /// It says that, and nothing else.
    pub is_all: bool,
}

impl Config {
    /// Reads it from a task's keys. It is SkyPilot's, so what else is in it is no mistake.
    pub fn read(reader: Reader<'_>, entries: &[(Key, Node)]) -> Self {
        let entry =
            |entries: &[(Key, Node)], name: &str| entries.iter().position(|(key, _)| key.name == name);
        let Some(Value::Map(config)) = entry(entries, "config").map(|at| &entries[at].1.value) else {
            return Self::default();
        };
        let Some(Value::Map(azure)) = entry(config, "azure").map(|at| &config[at].1.value) else {
            return Self::default();
        };
        let account = entry(azure, "storage_account").and_then(|at| reader.word(&azure[at].1));
        let is_all = account.is_some() && config.len() == 1 && azure.len() == 1;
        Self { account, is_all }
    }
}

/// How the bucket of an entry is used, by its `config`. Errors: what a store of `kind` has not.
pub fn settings(
    reader: Reader<'_>,
    object: &Object<'_>,
    kind: StoreKind,
    caller: &Caller,
) -> Result<BucketSettings, Mistake> {
    let Some(config) = object.object("config") else { return Ok(BucketSettings::default()) };
    let text = |name: &str| reader.word_of(config, name).map(|word| word.value);
    let switch = reader.choice_of(config, "content_type_by_name", SWITCH);
    let settings = BucketSettings {
        content_type_by_name: switch.is_none_or(|word| matches!(word, "on" | "true")),
        storage_class: text("storage_class"),
        sse: text("sse"),
        sse_kms_key_id: text("sse_kms_key_id"),
        requester_pays: reader.bool_of(config, "requester_pays").unwrap_or(false),
        anonymous: false,
    };
    let mistake = |keys: &[&str], failure: Failure| {
        let place = keys.iter().find_map(|key| config.get(key)).map_or(config.place, |node| node.place);
        Mistake::new(place, failure.message).with_hint_if(failure.hint)
    };
    settings
        .check(kind)
        .map_err(|failure| mistake(&["sse", "sse_kms_key_id", "requester_pays", "storage_class"], failure))?;
    let endpoint = reader.word_of(object, "endpoint").map(|word| word.value);
    settings
        .check_class(kind, endpoint.as_deref(), &caller.variables)
        .map_err(|failure| mistake(&["storage_class"], failure))?;
    Ok(settings)
}
