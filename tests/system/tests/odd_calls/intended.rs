//! Where we answer otherwise than libvirt, and mean to: each difference by rule, with its reason.

use virt_api::protocol::table::Procedure;

use super::arguments::Odd;
use super::{Call, Outcome};

/// A kind of difference.
struct Rule {
    /// The procedures it is about; all if there are none.
    procedures: &'static [&'static str],
    /// Whether it is this difference: of libvirt's outcome and ours.
    is: fn(&Call<'_>, &Outcome, &Outcome) -> bool,
    #[allow(dead_code, reason = "the reason is for whoever reads the rules")]
    reason: &'static str,
}

const ANSWERED: Outcome = Outcome::Answered;
const OPERATION_DENIED: i32 = 29;
/// The codes for a domain, a network, a pool that is not there.
const NOT_FOUND: [i32; 3] = [42, 43, 49];

const RULES: &[Rule] = &[
    Rule {
        procedures: &[],
        is: |call, _, ours| call.read_only && ours.code() == Some(OPERATION_DENIED),
        reason: "who may only look is told so before anything else is looked at; libvirt has forgotten one procedure",
    },
    Rule {
        procedures: &[],
        is: |_, theirs, ours| {
            *theirs == ANSWERED && ours.code().is_some_and(|code| NOT_FOUND.contains(&code))
        },
        reason: "access is decided about an object, so it has to be there, also where the answer is always the same",
    },
    Rule {
        procedures: &[],
        is: |call, _, _| call.odd.confuses("network") || call.odd.confuses("pool"),
        reason: "networks and pools are known by their UUID; libvirt's simulator goes by the name in some calls",
    },
    Rule {
        procedures: &[
            "domain_get_launch_security_info",
            "domain_get_scheduler_parameters_flags",
        ],
        is: |_, theirs, _| *theirs == Outcome::Refused(8, 12),
        reason: "libvirt's daemon adds a flag that its simulator refuses, so that these calls never succeed",
    },
    Rule {
        procedures: &[
            "domain_get_metadata",
            "domain_set_metadata",
            "network_get_metadata",
            "network_set_metadata",
        ],
        is: |call, _, _| call.odd.has("kind -1"),
        reason: "metadata of kind -1 is refused like that of kind 17, and not set and lost",
    },
    Rule {
        procedures: &["domain_memory_stats"],
        is: |call, theirs, _| *theirs == ANSWERED && call.odd.has("max_stats 0"),
        reason: "flags are refused also where nothing is asked for",
    },
    Rule {
        procedures: &["domain_core_dump_with_format"],
        is: |_, _, ours| *ours == Outcome::Refused(84, 12),
        reason: "a format that cannot be written is refused before a file is begun",
    },
    Rule {
        procedures: &["connect_set_identity"],
        is: |_, _, ours| ours.code() == Some(8),
        reason: "an identity without any part would be nobody's, and flags are looked at before identities",
    },
    Rule {
        procedures: &["node_device_destroy"],
        is: |_, theirs, _| *theirs == ANSWERED,
        reason: "libvirt's simulator calls it a success to destroy what it cannot destroy",
    },
    Rule {
        procedures: &["node_get_free_memory"],
        is: |_, theirs, _| *theirs == Outcome::Refused(1, 0),
        reason: "libvirt's simulator fails without a cause on hosts without memory nodes of their own",
    },
    Rule {
        procedures: &["auth_polkit"],
        is: |_, theirs, _| *theirs == Outcome::Refused(1, 7),
        reason: "a proof that nobody asked for fails; libvirt's daemon does not say why",
    },
];

/// Whether the difference is meant.
pub fn is_intended(call: &Call<'_>, theirs: &Outcome, ours: &Outcome) -> bool {
    RULES.iter().any(|rule| {
        (rule.procedures.is_empty() || rule.procedures.contains(&call.procedure.name))
            && (rule.is)(call, theirs, ours)
    })
}

/// Why a call is not made: it would tell nothing.
pub fn is_left_out(procedure: &Procedure, odd: &Odd) -> bool {
    match procedure.name {
        // libvirt's daemon loses the connection that it has over a second one.
        "connect_open" => true,
        // libvirt's daemon crashes.
        "domain_snapshot_list_names" => odd.has("maxnames 0"),
        _ => false,
    }
}
