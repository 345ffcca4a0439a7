//! The steps of a migration whose both ends the client holds, in each of the three forms.
//!
//! Two rules run through all of them. The first error is the one that is answered: what goes wrong while the rest is
//! cleared away is logged. And a step that began something is followed by the step that ends it, whatever happened in
//! between: Prepare by Finish, Begin by Confirm.

use virt_util::typed_param::{TypedParam, TypedParams};
use virt_util::types::params::migration as param;
use virt_util::types::{DomainMigrateFlags as Flags, DomainState, DomainXmlFlags};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::{Between, Plain, feature};
use crate::protocol::remote::DomainRef;

/// What is said to the ends in the third form.
pub(super) enum Arguments<'p> {
    Plain(Plain<'p>),
    Params(TypedParams),
}

/// What the destination need not know.
fn for_target(flags: Flags) -> Flags {
    flags - (Flags::ABORT_ON_ERROR | Flags::AUTO_CONVERGE)
}

fn bits(flags: Flags) -> u64 {
    u64::from(flags.bits())
}

/// A guest that stands still shall do so over there. A state that cannot be had changes nothing.
fn paused_by_info(ends: &Between<'_>) -> bool {
    let info = ends.source.calls.domain_get_info(&ends.domain);
    info.is_ok_and(|info| i32::from(info.state) == DomainState::PAUSED.0)
}

fn no_uri(step: &str) -> VirtError {
    VirtError::internal(format_args!(
        "{step} of the destination did not say where to migrate to"
    ))
}

/// Prepare, Perform, Finish.
pub(super) fn first(ends: &Between<'_>, flags: Flags, plain: Plain<'_>) -> Result<DomainRef> {
    let (source, target) = (&ends.source.calls, &ends.target.calls);
    let flags = if paused_by_info(ends) {
        flags | Flags::PAUSED
    } else {
        flags
    };
    let target_flags = bits(for_target(flags));
    let prepared = target.domain_migrate_prepare(plain.uri, target_flags, plain.name, plain.bandwidth)?;
    let uri = prepared.uri_out.as_deref().or(plain.uri);
    let uri = uri.ok_or_else(|| no_uri("domainMigratePrepare"))?;
    source.domain_migrate_perform(
        &ends.domain,
        &prepared.cookie,
        uri,
        bits(flags),
        plain.name,
        plain.bandwidth,
    )?;
    let name = plain.name.unwrap_or(&ends.domain.name);
    match target.domain_migrate_finish(name, &prepared.cookie, uri, target_flags) {
        Ok(finished) => Ok(finished.domain),
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(target.domain_lookup_by_name(name)?.domain),
        Err(error) => Err(error),
    }
}

/// Prepare with the definition, Perform, and Finish, which learns how Perform went.
pub(super) fn second(ends: &Between<'_>, flags: Flags, plain: Plain<'_>) -> Result<DomainRef> {
    let (source, target) = (&ends.source.calls, &ends.target.calls);
    let xml_flags = if ends.source.supports(feature::XML_MIGRATABLE)? {
        DomainXmlFlags::MIGRATABLE
    } else {
        DomainXmlFlags::SECURE | DomainXmlFlags::UPDATE_CPU
    };
    let xml = source.domain_get_xml_desc(&ends.domain, xml_flags.bits())?.xml;
    let flags = if paused_by_info(ends) {
        flags | Flags::PAUSED
    } else {
        flags
    };
    let target_flags = bits(for_target(flags));
    let prepared =
        target.domain_migrate_prepare2(plain.uri, target_flags, plain.name, plain.bandwidth, &xml)?;
    let uri = prepared.uri_out.as_deref().or(plain.uri);
    let performed = match uri {
        None => Err(no_uri("domainMigratePrepare2")),
        Some(uri) => source.domain_migrate_perform(
            &ends.domain,
            &prepared.cookie,
            uri,
            bits(flags),
            plain.name,
            plain.bandwidth,
        ),
    };
    // The guest starts over there, or is thrown away.
    let name = plain.name.unwrap_or(&ends.domain.name);
    let finished = target.domain_migrate_finish2(
        name,
        &prepared.cookie,
        uri.unwrap_or_default(),
        target_flags,
        i32::from(performed.is_err()),
    );
    if let Err(error) = performed {
        match finished {
            Ok(_) => tracing::error!("the destination went on with a migration that was given up"),
            Err(late) => tracing::debug!("finish step: {late}"),
        }
        return Err(error);
    }
    finished.map(|finished| finished.domain)
}

/// How the source and the destination are called in the third form.
struct Third<'a, 'p> {
    ends: &'a Between<'a>,
    arguments: Arguments<'p>,
    /// For the source.
    flags: Flags,
    /// For the destination.
    target_flags: Flags,
    /// Where Perform goes.
    uri: Option<String>,
}

/// Puts `value` in the place of whatever the parameter was.
fn replace(params: &mut TypedParams, name: &str, value: &str) {
    params.0.retain(|one| one.field != name);
    params.0.push(TypedParam::new(name, value));
}

impl Third<'_, '_> {
    /// Answers the definition for the destination, and a cookie.
    fn begin(&self) -> Result<(String, Vec<u8>)> {
        let (source, domain) = (&self.ends.source.calls, &self.ends.domain);
        match &self.arguments {
            Arguments::Plain(plain) => {
                let begun = source.domain_migrate_begin3(
                    domain,
                    plain.xml,
                    bits(self.flags),
                    plain.name,
                    plain.bandwidth,
                )?;
                Ok((begun.xml, begun.cookie_out))
            }
            Arguments::Params(params) => {
                let begun = source.domain_migrate_begin3_params(domain, params, self.flags.bits())?;
                Ok((begun.xml, begun.cookie_out))
            }
        }
    }

    fn is_paused(&self) -> bool {
        match &self.arguments {
            Arguments::Plain(_) => paused_by_info(self.ends),
            // A source that knows parameters knows this.
            Arguments::Params(_) => {
                let state = self.ends.source.calls.domain_get_state(&self.ends.domain, 0);
                state.is_ok_and(|state| state.state == DomainState::PAUSED.0)
            }
        }
    }

    /// Answers the URI that the destination wants, and a cookie.
    fn prepare(&mut self, xml: &str, cookie: &[u8]) -> Result<(Option<String>, Vec<u8>)> {
        let target = &self.ends.target.calls;
        match &mut self.arguments {
            Arguments::Plain(plain) => {
                let prepared = target.domain_migrate_prepare3(
                    cookie,
                    plain.uri,
                    bits(self.target_flags),
                    plain.name,
                    plain.bandwidth,
                    xml,
                )?;
                Ok((prepared.uri_out, prepared.cookie_out))
            }
            Arguments::Params(params) => {
                replace(params, param::DEST_XML, xml);
                let prepared =
                    target.domain_migrate_prepare3_params(params, cookie, self.target_flags.bits())?;
                Ok((prepared.uri_out, prepared.cookie_out))
            }
        }
    }

    /// The destination's word on the URI counts, then the caller's.
    fn settle_uri(&mut self, told: Option<String>) -> Result<()> {
        match &mut self.arguments {
            Arguments::Plain(plain) => self.uri = told.or_else(|| plain.uri.map(str::to_owned)),
            Arguments::Params(params) => {
                if let Some(told) = &told {
                    replace(params, param::URI, told);
                }
                self.uri = match told {
                    Some(told) => Some(told),
                    None => params.get_string(param::URI)?.map(str::to_owned),
                };
            }
        }
        match self.uri {
            Some(_) => Ok(()),
            None => Err(no_uri("domainMigratePrepare3")),
        }
    }

    fn perform(&self, cookie: &[u8]) -> Result<Vec<u8>> {
        let (source, domain) = (&self.ends.source.calls, &self.ends.domain);
        match &self.arguments {
            Arguments::Plain(plain) => {
                let performed = source.domain_migrate_perform3(
                    domain,
                    None,
                    cookie,
                    None,
                    self.uri.as_deref(),
                    bits(self.flags),
                    plain.name,
                    plain.bandwidth,
                )?;
                Ok(performed.cookie_out)
            }
            Arguments::Params(params) => {
                let performed =
                    source.domain_migrate_perform3_params(domain, None, params, cookie, self.flags.bits())?;
                Ok(performed.cookie_out)
            }
        }
    }

    fn finish(&mut self, cookie: &[u8], cancelled: bool) -> Result<(DomainRef, Vec<u8>)> {
        let target = &self.ends.target.calls;
        match &mut self.arguments {
            Arguments::Plain(plain) => {
                let finished = target.domain_migrate_finish3(
                    plain.name.unwrap_or(&self.ends.domain.name),
                    cookie,
                    None,
                    self.uri.as_deref(),
                    bits(self.target_flags),
                    cancelled.into(),
                )?;
                Ok((finished.domain, finished.cookie_out))
            }
            Arguments::Params(params) => {
                if params.get_string(param::DEST_NAME)?.is_none() {
                    replace(params, param::DEST_NAME, &self.ends.domain.name);
                }
                let finished = target.domain_migrate_finish3_params(
                    params,
                    cookie,
                    self.target_flags.bits(),
                    cancelled.into(),
                )?;
                Ok((finished.domain, finished.cookie_out))
            }
        }
    }

    fn confirm(&self, cookie: &[u8], cancelled: bool) {
        let (source, domain) = (&self.ends.source.calls, &self.ends.domain);
        let confirmed = match &self.arguments {
            Arguments::Plain(_) => {
                source.domain_migrate_confirm3(domain, cookie, bits(self.flags), cancelled.into())
            }
            Arguments::Params(params) => source.domain_migrate_confirm3_params(
                domain,
                params,
                cookie,
                self.flags.bits(),
                cancelled.into(),
            ),
        };
        if let Err(error) = confirmed {
            tracing::warn!("domain {} may stay paused at the source: {error}", domain.name);
        }
    }
}

/// Both ends failed, and nobody knows which was the cause: QEMU's drivers get told both.
fn both_errors(first: &VirtError, second: &VirtError) -> Option<VirtError> {
    let at_source = first.domain() == ErrorDomain::QEMU && first.code() == ErrorCode::OPERATION_FAILED;
    let at_target = second.domain() == ErrorDomain::QEMU && second.code() != ErrorCode::MIGRATE_FINISH_OK;
    (at_source && at_target).then(|| {
        VirtError::new(
            ErrorCode::OPERATION_FAILED,
            format_args!(
                "the source says: {}; the destination says: {}",
                first.message(),
                second.message()
            ),
        )
    })
}

/// Begin, Prepare, Perform, Finish, Confirm.
pub(super) fn third(ends: &Between<'_>, flags: Flags, arguments: Arguments<'_>) -> Result<DomainRef> {
    let protection = if ends.source.supports(feature::CHANGE_PROTECTION)? {
        Flags::CHANGE_PROTECTION
    } else {
        Flags::empty()
    };
    let mut third = Third {
        ends,
        arguments,
        flags: flags | protection,
        target_flags: for_target(flags),
        uri: None,
    };
    let (xml, cookie) = third.begin()?;
    if !flags.contains(Flags::POSTCOPY_RESUME) && third.is_paused() {
        third.flags |= Flags::PAUSED;
        third.target_flags |= Flags::PAUSED;
    }

    let (told, cookie) = match third.prepare(&xml, &cookie) {
        Ok(prepared) => prepared,
        Err(error) => {
            // Begin has started a job where changes are held off, and only Confirm ends it.
            if !protection.is_empty() {
                third.confirm(&[], true);
            }
            return Err(error);
        }
    };

    // Whether the source still has to be told how it ended: a Perform that failed knows.
    let mut tell_source = true;
    let performed = match third.settle_uri(told) {
        Err(error) => Err((error, cookie)),
        // There is no guest to send.
        Ok(()) if flags.contains(Flags::OFFLINE) => Ok(Vec::new()),
        Ok(()) => third.perform(&cookie).map_err(|error| {
            tell_source = false;
            (error, Vec::new())
        }),
    };
    let (mut first_error, cookie) = match performed {
        Ok(cookie) => (None, cookie),
        Err((error, cookie)) => (Some(error), cookie),
    };

    let finished = third.finish(&cookie, first_error.is_some());
    match (&finished, &first_error) {
        (Ok(_), Some(_)) => tracing::error!("the destination went on with a migration that was given up"),
        (Err(late), Some(first)) => {
            if let Some(both) = both_errors(first, late) {
                first_error = Some(both);
            }
        }
        (Err(error), None) => first_error = Some(error.clone()),
        (Ok(_), None) => {}
    }

    // The guest is over there, or it goes on here.
    let (moved, cookie) = match finished {
        Ok((moved, cookie)) => (Some(moved), cookie),
        Err(_) => (None, Vec::new()),
    };
    if tell_source {
        third.confirm(&cookie, moved.is_none());
    }
    match (moved, first_error) {
        (_, Some(error)) => Err(error),
        (Some(moved), None) => Ok(moved),
        (None, None) => Err(VirtError::internal(
            "the migration ended without a guest and without an error",
        )),
    }
}
