//! `crates/virtd/files/polkit/org.libvirt.api.policy`: an action for each permission, by libvirt's names, for
//! administrators who decide with polkit what each user may do.

use std::fmt::Write;
use std::path::PathBuf;

use super::model::*;

/// The file.
pub fn file(description: &Description) -> (PathBuf, String) {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE policyconfig PUBLIC \"-//freedesktop//DTD polkit Policy Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/software/polkit/policyconfig-1.dtd\">\n\
         <!-- Made by `cargo xtask codegen` from crates/virt-api/protocol/access.virt; not to be edited. -->\n\
         <policyconfig>\n  <vendor>Ferrovirt</vendor>\n",
    );
    for object in &description.objects {
        for permission in &object.permissions {
            let allowed = if permission.anonymous { "yes" } else { "no" };
            let (words, of) = (permission.name.replace('_', " "), object.name.replace('_', " "));
            let _ = writeln!(
                out,
                "  <action id=\"{}\">\n    \
                 <description>Permission '{words}' on objects of kind '{of}'</description>\n    \
                 <message>Permission '{words}' on a {of} has to be granted by a rule</message>\n    \
                 <defaults>\n      <allow_any>{allowed}</allow_any>\n      \
                 <allow_inactive>{allowed}</allow_inactive>\n      <allow_active>{allowed}</allow_active>\n    \
                 </defaults>\n  </action>",
                action(object, permission)
            );
        }
    }
    out.push_str("</policyconfig>\n");
    (
        PathBuf::from("crates/virtd/files/polkit/org.libvirt.api.policy"),
        out,
    )
}

/// The action's name.
fn action(object: &AccessObject, permission: &AccessPermission) -> String {
    format!("org.libvirt.api.{}.{}", object.name, permission.name).replace('_', "-")
}
