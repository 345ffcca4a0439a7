//! Storage pools.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::shell::{Outcome, Shell};
use virt_conf::storage_pool::PoolType;
use virt_util::xml::{Writer, XmlFlags};

const fn about(name: &'static str, help: &'static str) -> Opt {
    Opt::text(name, help).legacy_positional()
}

/// The rows.
pub const COMMANDS: &[Command] =
    &[
        Command::new("pool-define-as", pool_define_as, "define a pool by options")
            .about("Stores the definition of a pool that the options describe.")
            .options(&[
                Opt::text("name", "its name")
                    .required()
                    .positional()
                    .complete(complete::nothing),
                Opt::text("type", "its type")
                    .required()
                    .positional()
                    .complete(|_, _| PoolType::ALL.iter().map(ToString::to_string).collect()),
                Opt::flag("print-xml", "print its XML, and define none"),
                about("source-host", "host that has the storage").complete(complete::nothing),
                about("source-path", "folder that has the storage"),
                about("source-dev", "device that has the storage"),
                about("source-name", "name of the storage"),
                about("target", "where it is on this host"),
                about("source-format", "its format"),
                about("auth-type", "how to log in there"),
                about("auth-username", "as whom to log in there").complete(complete::nothing),
                about("secret-usage", "the secret to log in with, by its use"),
                about("secret-uuid", "the secret to log in with, by its UUID"),
                about("adapter-name", "adapter that has the storage"),
                about("adapter-wwnn", "node name of the adapter"),
                about("adapter-wwpn", "port name of the adapter"),
                about("adapter-parent", "parent of the adapter"),
                about("adapter-parent-wwnn", "node name of the adapter's parent"),
                about("adapter-parent-wwpn", "port name of the adapter's parent"),
                about("adapter-parent-fabric-wwn", "fabric name of the adapter's parent"),
                about("source-protocol-ver", "version of NFS to mount with"),
                about("source-initiator", "name of the initiator").complete(complete::nothing),
            ]),
    ];

/// An element with attributes, of which those without a value are left out.
fn element(writer: &mut Writer, name: &str, attributes: &[(&str, Option<&str>)]) {
    writer.start(name);
    for (attribute, value) in attributes {
        if let Some(value) = value {
            writer.attribute(attribute, value);
        }
    }
    writer.end(name);
}

fn adapter(writer: &mut Writer, call: &Invocation) -> Outcome {
    let text = |name: &str| call.text(name);
    let (node, port) = (text("adapter-wwnn")?, text("adapter-wwpn")?);
    if node.is_some() && port.is_some() {
        let parent = text("adapter-parent")?;
        let (parent_node, parent_port) = (text("adapter-parent-wwnn")?, text("adapter-parent-wwpn")?);
        let fabric = text("adapter-parent-fabric-wwn")?;
        let by_names = parent.is_none() && parent_node.is_some() && parent_port.is_some();
        let by_fabric = parent.is_none() && !by_names;
        let attributes = [
            ("type", Some("fc_host")),
            ("parent", parent),
            ("parent_wwnn", parent_node.filter(|_| by_names)),
            ("parent_wwpn", parent_port.filter(|_| by_names)),
            ("parent_fabric_wwn", fabric.filter(|_| by_fabric)),
            ("wwnn", node),
            ("wwpn", port),
        ];
        element(writer, "adapter", &attributes);
    } else if let Some(name) = text("adapter-name")? {
        element(
            writer,
            "adapter",
            &[("type", Some("scsi_host")), ("name", Some(name))],
        );
    }
    Ok(())
}

fn source(writer: &mut Writer, call: &Invocation) -> Outcome {
    let text = |name: &str| call.text(name);
    for (name, attribute, option) in [
        ("host", "name", "source-host"),
        ("dir", "path", "source-path"),
        ("device", "path", "source-dev"),
    ] {
        if let Some(value) = text(option)? {
            element(writer, name, &[(attribute, Some(value))]);
        }
    }
    if let Some(initiator) = text("source-initiator")? {
        writer.start("initiator");
        element(writer, "iqn", &[("name", Some(initiator))]);
        writer.end("initiator");
    }
    adapter(writer, call)?;
    let (usage, uuid) = (text("secret-usage")?, text("secret-uuid")?);
    if let (Some(kind), Some(user)) = (text("auth-type")?, text("auth-username")?)
        && (usage.is_some() || uuid.is_some())
    {
        writer.start("auth");
        writer.attribute("type", kind);
        writer.attribute("username", user);
        element(writer, "secret", &[("usage", usage), ("uuid", uuid)]);
        writer.end("auth");
    }
    if let Some(format) = text("source-format")? {
        element(writer, "format", &[("type", Some(format))]);
    }
    if let Some(name) = text("source-name")? {
        writer.text_element("name", name);
    }
    if let Some(version) = text("source-protocol-ver")? {
        element(writer, "protocol", &[("ver", Some(version))]);
    }
    Ok(())
}

fn pool_define_as(shell: &mut Shell, call: &Invocation) -> Outcome {
    call.exclusive("secret-usage", "secret-uuid")?;
    let name = call.required_text("name")?;
    let mut writer = Writer::new(XmlFlags::empty());
    writer.start("pool");
    writer.attribute("type", call.required_text("type")?);
    writer.text_element("name", name);
    let has_source = [
        "source-host",
        "source-path",
        "source-dev",
        "source-initiator",
        "source-format",
        "source-name",
        "adapter-name",
    ]
    .iter()
    .any(|option| call.has(option))
        || (call.has("adapter-wwnn") && call.has("adapter-wwpn"));
    if has_source {
        writer.start("source");
        source(&mut writer, call)?;
        writer.end("source");
    }
    if let Some(target) = call.text("target")? {
        writer.start("target");
        writer.text_element("path", target);
        writer.end("target");
    }
    writer.end("pool");
    let xml = writer.finish();
    if call.has("print-xml") {
        shell.print(xml);
        return Ok(());
    }
    let connection = shell.connection()?;
    let defined = connection.remote().storage_pool_define_xml(&xml, 0);
    match defined {
        Ok(reply) => {
            shell.extra(format!("Pool {} defined\n", reply.pool.name));
            Ok(())
        }
        Err(error) => {
            let mut failure = crate::shell::Failure::from(error);
            failure.said.push(format!("Failed to define pool {name}"));
            Err(failure)
        }
    }
}
