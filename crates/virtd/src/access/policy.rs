//! The policy file: which clients may do what, to which objects.
//!
//! The file is TOML, a list of `[[allow]]`. A rule names clients, permissions and perhaps objects; a client may do what
//! at least one rule allows. Nothing else is allowed: an empty file locks everybody out, and a file with a mistake is
//! not used at all. `docs/security.md` explains it with examples.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use toml::Spanned;
use virt_api::access::ObjectKind;
use virt_api::call::Identity;
use virt_api::protocol::table::{self, PermissionInfo};
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::params::identity as names;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::pattern;

/// How long the groups of a user are remembered.
const GROUPS_KNOWN: Duration = Duration::from_secs(60);

/// Rules of one file at most.
const RULES_MAX: usize = 10_000;

/// One text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// One number or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<Spanned<RawRule>>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    anyone: Option<bool>,
    user: Option<Texts>,
    uid: Option<Numbers>,
    group: Option<Texts>,
    sasl_user: Option<Texts>,
    x509_name: Option<Texts>,
    selinux: Option<Texts>,
    permissions: Spanned<Texts>,
    connect_driver: Option<Texts>,
    domain_name: Option<Texts>,
    domain_uuid: Option<Texts>,
    network_name: Option<Texts>,
    network_uuid: Option<Texts>,
    port_uuid: Option<Texts>,
    interface_name: Option<Texts>,
    interface_macaddr: Option<Texts>,
    node_device_name: Option<Texts>,
    nwfilter_name: Option<Texts>,
    nwfilter_uuid: Option<Texts>,
    nwfilter_binding_portdev: Option<Texts>,
    nwfilter_binding_linkdev: Option<Texts>,
    nwfilter_binding_filter: Option<Texts>,
    secret_uuid: Option<Texts>,
    secret_usage_volume: Option<Texts>,
    secret_usage_ceph: Option<Texts>,
    secret_usage_target: Option<Texts>,
    secret_usage_name: Option<Texts>,
    pool_name: Option<Texts>,
    pool_uuid: Option<Texts>,
    vol_name: Option<Texts>,
    vol_key: Option<Texts>,
}

/// What the objects of each kind are known by. libvirt's names, as its polkit rules have them.
fn attributes_of(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::Domain => &["domain_name", "domain_uuid"],
        ObjectKind::Network => &["network_name", "network_uuid"],
        ObjectKind::NetworkPort => &["network_name", "network_uuid", "port_uuid"],
        ObjectKind::Interface => &["interface_name", "interface_macaddr"],
        ObjectKind::NodeDevice => &["node_device_name"],
        ObjectKind::Nwfilter => &["nwfilter_name", "nwfilter_uuid"],
        ObjectKind::NwfilterBinding => &[
            "nwfilter_binding_portdev",
            "nwfilter_binding_linkdev",
            "nwfilter_binding_filter",
        ],
        ObjectKind::Secret => &[
            "secret_uuid",
            "secret_usage_volume",
            "secret_usage_ceph",
            "secret_usage_target",
            "secret_usage_name",
        ],
        ObjectKind::StoragePool => &["pool_name", "pool_uuid"],
        ObjectKind::StorageVol => &["pool_name", "pool_uuid", "vol_name", "vol_key"],
        // The connection as a whole, and kinds that are not known yet.
        _ => &[],
    }
}

/// The attribute that all objects have: the driver.
pub const DRIVER: &str = "connect_driver";

/// Whom a rule is about.
#[derive(Debug, Default)]
struct Who {
    user: Option<Vec<String>>,
    uid: Option<Vec<u32>>,
    group: Option<Vec<String>>,
    sasl_user: Option<Vec<String>>,
    x509_name: Option<Vec<String>>,
    selinux: Option<Vec<String>>,
}

/// A rule.
#[derive(Debug)]
struct Rule {
    /// `None` for everybody.
    who: Option<Who>,
    /// Which of the known permissions, by their place in the table.
    permissions: Vec<usize>,
    /// Patterns of attributes: each has to be there and match.
    objects: Vec<(&'static str, Vec<String>)>,
}

/// A policy.
pub struct Policy {
    rules: Vec<Rule>,
    /// Groups that users are members of beside their own. Guards no waiting but the look into the user database.
    groups: Mutex<HashMap<String, (Instant, Arc<Vec<String>>)>>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Reads a text; `file` is for messages.
    ///
    /// # Errors
    /// `CONF_SYNTAX`, with the line and what was expected.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let wrong = |offset: usize, what: &str| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            VirtError::new(ErrorCode::CONF_SYNTAX, format_args!("{file}:{line}: {what}"))
                .in_domain(ErrorDomain::ACCESS)
        };
        let raw: File = toml::from_str(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        if raw.allow.len() > RULES_MAX {
            return Err(wrong(
                0,
                &format!("{} rules, at most {RULES_MAX} allowed", raw.allow.len()),
            ));
        }
        let rules = raw
            .allow
            .into_iter()
            .map(|rule| {
                let start = rule.span().start;
                let rule = rule.into_inner();
                let at = rule.permissions.span().start;
                Rule::new(rule).map_err(|(about_permissions, what)| {
                    wrong(if about_permissions { at } else { start }, &what)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            rules,
            groups: Mutex::default(),
        })
    }

    /// How many rules it has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has no rule: nobody may do anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the client holds the permission on some object at all.
    pub fn holds_any(&self, identity: &Identity, object: ObjectKind, permission: &str) -> bool {
        self.applying(identity, object, permission).next().is_some()
    }

    /// Whether the client holds the permission on the object with these attributes.
    pub fn allows(
        &self,
        identity: &Identity,
        object: ObjectKind,
        permission: &str,
        attributes: &TypedParams,
    ) -> bool {
        self.applying(identity, object, permission).any(|rule| {
            rule.objects.iter().all(|(name, patterns)| {
                matches!(attributes.get(name), Some(TypedValue::String(value))
                    if patterns.iter().any(|pattern| pattern::matches(pattern, value)))
            })
        })
    }

    fn applying<'p>(
        &'p self,
        identity: &'p Identity,
        object: ObjectKind,
        permission: &str,
    ) -> impl Iterator<Item = &'p Rule> {
        // A permission that nobody knows is held by nobody.
        let place = place(object, permission);
        self.rules
            .iter()
            .filter(move |rule| place.is_some_and(|place| rule.permissions.contains(&place)))
            .filter(|rule| rule.who.as_ref().is_none_or(|who| self.is(who, identity)))
    }

    fn is(&self, who: &Who, identity: &Identity) -> bool {
        let text = |name: &str| match identity.0.get(name) {
            // An empty name is that of somebody unknown.
            Some(TypedValue::String(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        };
        let fits = |patterns: &Option<Vec<String>>, name: &str| match patterns {
            None => true,
            Some(patterns) => {
                text(name).is_some_and(|text| patterns.iter().any(|pattern| pattern::matches(pattern, text)))
            }
        };
        let uid = match identity.0.get(names::UNIX_USER_ID) {
            Some(TypedValue::ULLong(uid)) => Some(*uid),
            _ => None,
        };
        fits(&who.user, names::USER_NAME)
            && fits(&who.sasl_user, names::SASL_USER_NAME)
            && fits(&who.x509_name, names::X509_DISTINGUISHED_NAME)
            && fits(&who.selinux, names::SELINUX_CONTEXT)
            && who
                .uid
                .as_ref()
                .is_none_or(|uids| uid.is_some_and(|uid| uids.iter().any(|known| u64::from(*known) == uid)))
            && who.group.as_ref().is_none_or(|patterns| {
                let is_one = |group: &str| patterns.iter().any(|pattern| pattern::matches(pattern, group));
                text(names::GROUP_NAME).is_some_and(is_one)
                    || text(names::USER_NAME)
                        .is_some_and(|user| self.groups_of(user).iter().any(|group| is_one(group)))
            })
    }

    /// The groups that the host's user database puts a user into.
    fn groups_of(&self, user: &str) -> Arc<Vec<String>> {
        let now = Instant::now();
        if let Some((known, groups)) = self.groups.lock().get(user)
            && now.duration_since(*known) < GROUPS_KNOWN
        {
            return Arc::clone(groups);
        }
        let groups = Arc::new(look_up_groups(user));
        let mut all = self.groups.lock();
        all.retain(|_, (known, _)| now.duration_since(*known) < GROUPS_KNOWN);
        all.insert(user.to_owned(), (now, Arc::clone(&groups)));
        groups
    }
}

fn look_up_groups(user: &str) -> Vec<String> {
    let Ok(Some(found)) = nix::unistd::User::from_name(user) else {
        return Vec::new();
    };
    let Ok(name) = std::ffi::CString::new(user) else {
        return Vec::new();
    };
    let groups = nix::unistd::getgrouplist(&name, found.gid).unwrap_or_default();
    groups
        .into_iter()
        .filter_map(|gid| nix::unistd::Group::from_gid(gid).ok().flatten())
        .map(|group| group.name)
        .collect()
}

fn place(object: ObjectKind, permission: &str) -> Option<usize> {
    table::permissions()
        .iter()
        .position(|known| known.permission.object == object && known.permission.name == permission)
}

fn texts(texts: Option<Texts>) -> Option<Vec<String>> {
    texts.map(|texts| match texts {
        Texts::One(one) => vec![one],
        Texts::Many(many) => many,
    })
}

impl Rule {
    /// Checks a rule; an error says whether it is about the permissions.
    fn new(raw: RawRule) -> std::result::Result<Self, (bool, String)> {
        let who = Who {
            user: texts(raw.user),
            uid: raw.uid.map(|uids| match uids {
                Numbers::One(one) => vec![one],
                Numbers::Many(many) => many,
            }),
            group: texts(raw.group),
            sasl_user: texts(raw.sasl_user),
            x509_name: texts(raw.x509_name),
            selinux: texts(raw.selinux),
        };
        let nobody = who.user.is_none()
            && who.uid.is_none()
            && who.group.is_none()
            && who.sasl_user.is_none()
            && who.x509_name.is_none()
            && who.selinux.is_none();
        let who = match (raw.anyone, nobody) {
            (Some(true), true) => None,
            (Some(true), false) => {
                return Err((false, "a rule for anyone names clients besides".to_owned()));
            }
            (_, true) => {
                return Err((
                    false,
                    "a rule names no clients: expected user, uid, group, sasl_user, x509_name, selinux or anyone = true"
                        .to_owned(),
                ));
            }
            (_, false) => Some(who),
        };
        let objects: Vec<(&'static str, Vec<String>)> = [
            (DRIVER, raw.connect_driver),
            ("domain_name", raw.domain_name),
            ("domain_uuid", raw.domain_uuid),
            ("network_name", raw.network_name),
            ("network_uuid", raw.network_uuid),
            ("port_uuid", raw.port_uuid),
            ("interface_name", raw.interface_name),
            ("interface_macaddr", raw.interface_macaddr),
            ("node_device_name", raw.node_device_name),
            ("nwfilter_name", raw.nwfilter_name),
            ("nwfilter_uuid", raw.nwfilter_uuid),
            ("nwfilter_binding_portdev", raw.nwfilter_binding_portdev),
            ("nwfilter_binding_linkdev", raw.nwfilter_binding_linkdev),
            ("nwfilter_binding_filter", raw.nwfilter_binding_filter),
            ("secret_uuid", raw.secret_uuid),
            ("secret_usage_volume", raw.secret_usage_volume),
            ("secret_usage_ceph", raw.secret_usage_ceph),
            ("secret_usage_target", raw.secret_usage_target),
            ("secret_usage_name", raw.secret_usage_name),
            ("pool_name", raw.pool_name),
            ("pool_uuid", raw.pool_uuid),
            ("vol_name", raw.vol_name),
            ("vol_key", raw.vol_key),
        ]
        .into_iter()
        .filter_map(|(name, patterns)| Some((name, texts(patterns)?)))
        .collect();
        let mut permissions = Vec::new();
        for text in texts(Some(raw.permissions.into_inner())).unwrap_or_default() {
            for place in places(&text).map_err(|what| (true, what))? {
                let Some(info) = table::permissions().get(place) else {
                    continue;
                };
                let object = info.permission.object;
                let lacking = objects
                    .iter()
                    .find(|(name, _)| *name != DRIVER && !attributes_of(object).contains(name));
                if let Some((name, _)) = lacking {
                    return Err((
                        true,
                        format!(
                            "'{text}' is a permission on {} objects, which have no {name}: give it in a rule of its own",
                            object.name()
                        ),
                    ));
                }
                if !permissions.contains(&place) {
                    permissions.push(place);
                }
            }
        }
        Ok(Self {
            who,
            permissions,
            objects,
        })
    }
}

/// The permissions that a text means: `domain:start`, with patterns on both sides of the colon, or `read-only` for all
/// that clients of the read-only socket have in libvirt.
fn places(text: &str) -> std::result::Result<Vec<usize>, String> {
    let all = table::permissions();
    let found = |is: &dyn Fn(&PermissionInfo) -> bool| -> Vec<usize> {
        all.iter()
            .enumerate()
            .filter(|(_, info)| is(info))
            .map(|(place, _)| place)
            .collect()
    };
    if text == "read-only" {
        return Ok(found(&|info| info.anonymous));
    }
    let text = text.replace('_', "-");
    let (object, permission) = match text.as_str() {
        "*" => ("*", "*"),
        text => text.split_once(':').ok_or_else(|| {
            format!(
                "'{text}' is no permission: expected OBJECT:PERMISSION, as in 'domain:start', or 'read-only'"
            )
        })?,
    };
    let places = found(&|info| {
        pattern::matches(object, info.permission.object.name())
            && pattern::matches(permission, &info.permission.name.replace('_', "-"))
    });
    if !places.is_empty() {
        return Ok(places);
    }
    let of_object: Vec<_> = all
        .iter()
        .filter(|info| pattern::matches(object, info.permission.object.name()))
        .map(|info| info.permission.name.replace('_', "-"))
        .collect();
    Err(match of_object.is_empty() {
        true => {
            let mut objects: Vec<_> = all.iter().map(|info| info.permission.object.name()).collect();
            objects.dedup();
            format!(
                "'{text}': there is no object '{object}', expected one of {}",
                objects.join(", ")
            )
        }
        false => format!(
            "'{text}': there is no permission '{permission}' on {object}, expected one of {}",
            of_object.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests;
