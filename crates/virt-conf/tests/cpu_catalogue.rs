//! The catalogue of CPU models holds the facts of libvirt's CPU map, where that is at hand, and its arithmetic the rules
//! that one would expect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use virt_conf::cpu::{Cpu, CpuDocument, CpuFallback, CpuFeaturePolicy, CpuModel};
use virt_conf::cpu_models::{self, Comparison, CpuData, HypervisorModel, HypervisorModels, Reading};
use virt_util::arch::Arch;
use virt_util::xml::{Doc, Element};

const X86: Arch = Arch::X86_64;

fn map() -> Option<PathBuf> {
    let folder = std::env::var_os("VIRT_CORPUS")
        .filter(|corpus| !corpus.is_empty())
        .map(|corpus| PathBuf::from(corpus).join("common/cpu-map"));
    let folder = folder.filter(|folder| folder.join("index.xml").is_file());
    if folder.is_none() {
        println!("SKIP: no CPU map (VIRT_CORPUS is not set)");
    }
    folder
}

/// Files of an architecture, in the map's order.
fn files(folder: &std::path::Path, arch: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("index.xml")).unwrap();
    let doc = Doc::parse(&text).unwrap();
    let section = doc
        .root()
        .children_named("arch")
        .find(|section| section.attr("name").as_deref() == Some(arch))
        .unwrap();
    let mut names = Vec::new();
    for child in section.children() {
        let includes: Vec<Element<'_>> = if child.is("include") {
            vec![child]
        } else {
            child.children().collect()
        };
        for include in includes {
            let name = include.attr("filename").unwrap().into_owned();
            names.push(std::fs::read_to_string(folder.join(name)).unwrap());
        }
    }
    names
}

fn guest(model: &str) -> Cpu {
    Cpu {
        model: Some(CpuModel {
            name: Some(model.to_owned()),
            ..CpuModel::default()
        }),
        ..Cpu::default()
    }
}

fn expanded(model: &str) -> BTreeSet<String> {
    let mut cpu = guest(model);
    cpu_models::expand(X86, &mut cpu).unwrap();
    cpu.features
        .into_iter()
        .filter(|feature| feature.policy == CpuFeaturePolicy::Require)
        .map(|feature| feature.name)
        .collect()
}

#[test]
fn features_are_where_the_map_has_them() {
    let Some(folder) = map() else { return };
    let mut known = 0;
    for text in files(&folder, "x86") {
        let doc = Doc::parse(&text).unwrap();
        for feature in doc.root().children_named("feature") {
            let name = feature.attr("name").unwrap();
            let place = feature.children().find(|child| !child.is("alias")).unwrap();
            let number = |key: &str| {
                place.attr(key).map_or(0, |text| {
                    u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
                })
            };
            let reading = if place.is("cpuid") {
                Reading::Cpuid {
                    leaf: number("eax_in"),
                    subleaf: number("ecx_in"),
                    registers: ["eax", "ebx", "ecx", "edx"].map(number),
                }
            } else {
                Reading::Msr {
                    index: number("index"),
                    value: u64::from(number("edx")) << 32 | u64::from(number("eax")),
                }
            };
            let data = CpuData::from_readings([reading]);
            assert!(data.has_feature(&name).unwrap(), "{name}");
            assert_eq!(cpu_models::is_msr_feature(&name), place.is("msr"), "{name}");
            let mut cpu = guest("486");
            cpu.set_feature(&name, CpuFeaturePolicy::Require);
            let moves = cpu_models::copy_migratable(X86, &cpu).unwrap().features.len() == 1;
            assert_eq!(
                moves,
                feature.attr("migratable").as_deref() != Some("no"),
                "{name}"
            );
            known += 1;
        }
    }
    assert!(known > 300, "{known}");
}

#[test]
fn models_are_what_the_map_says() {
    let Some(folder) = map() else { return };
    let known = cpu_models::models(X86).unwrap().unwrap();
    let mut names = Vec::new();
    for text in files(&folder, "x86") {
        let doc = Doc::parse(&text).unwrap();
        for model in doc.root().children_named("model") {
            let name = model.attr("name").unwrap().into_owned();
            let plain = |feature: &Element<'_>| !feature.has_attr("removed") && !feature.has_attr("added");
            let mut want: BTreeSet<String> = model
                .children_named("feature")
                .filter(plain)
                .map(|feature| feature.attr("name").unwrap().into_owned())
                .collect();
            let mut vendor = model
                .child("vendor")
                .map(|vendor| vendor.attr("name").unwrap().into_owned());
            if let Some(other) = model.child("model") {
                let other = other.attr("name").unwrap().into_owned();
                want.extend(expanded(&other));
                vendor = vendor.or(cpu_models::vendor_of(X86, &other).map(str::to_owned));
                if model.child("feature").is_none() && model.child("vendor").is_none() {
                    assert_eq!(cpu_models::canonical_name(X86, &other), Some(name.as_str()));
                }
            }
            assert_eq!(expanded(&name), want, "{name}");
            assert_eq!(cpu_models::vendor_of(X86, &name), vendor.as_deref(), "{name}");
            assert_eq!(
                cpu_models::goes_by_catalogue(X86, &name).unwrap(),
                model.child("check").is_some(),
                "{name}"
            );
            let added = model
                .children_named("feature")
                .filter(|feature| feature.has_attr("added"))
                .count();
            assert_eq!(cpu_models::added_features(X86, &name).len(), added, "{name}");
            names.push(name);
        }
    }
    assert_eq!(known, names);
}

#[test]
fn a_model_is_found_again_by_its_own_features() {
    for name in cpu_models::models(X86).unwrap().unwrap() {
        // By name and nothing else, among itself alone.
        let only: HypervisorModels = std::iter::once(HypervisorModel {
            name: name.to_owned(),
            blockers: Vec::new(),
        })
        .collect();
        let cpu = CpuDocument::Guest(guest(name));
        let found = cpu_models::baseline(Some(X86), std::slice::from_ref(&cpu), Some(&only), None, false);
        // Versions are aliases, which no guest's CPU is described by, but for the one that was asked for.
        let Ok(found) = found else { continue };
        assert_eq!(found.model_name(), Some(name));
        assert_eq!(found.fallback(), CpuFallback::Forbid);
        assert!(
            found
                .features
                .iter()
                .all(|feature| feature.policy == CpuFeaturePolicy::Disable),
            "{name}: {:?}",
            found.features
        );
    }
}

#[test]
fn a_host_provides_itself_and_less() {
    let host = CpuDocument::parse(
        "<cpu><arch>x86_64</arch><model>Haswell</model><vendor>Intel</vendor><feature name='invtsc'/></cpu>",
        "host",
    )
    .unwrap();
    let compare = |xml: &str| {
        let cpu = CpuDocument::parse(xml, "cpu").unwrap();
        cpu_models::compare(X86, Some(&host), &cpu).unwrap()
    };
    assert_eq!(
        cpu_models::compare(X86, Some(&host), &host).unwrap(),
        Comparison::Identical
    );
    assert_eq!(compare("<cpu><model>Nehalem</model></cpu>"), Comparison::Superset);
    let strict = compare("<cpu match='strict'><model>Nehalem</model></cpu>");
    assert!(matches!(strict, Comparison::Incompatible(_)), "{strict:?}");
    let Comparison::Incompatible(why) = compare("<cpu><model>Skylake-Client</model></cpu>") else {
        panic!("a newer model is not there");
    };
    assert!(why.contains("smap"), "{why}");
    let vendor = compare("<cpu><model>Nehalem</model><vendor>AMD</vendor></cpu>");
    assert!(matches!(vendor, Comparison::Incompatible(_)));
    let unknown = CpuDocument::parse("<cpu><model>Unheard-of</model></cpu>", "cpu").unwrap();
    assert!(cpu_models::compare(X86, Some(&host), &unknown).is_err());
    let nobody = cpu_models::compare(X86, None, &host).unwrap();
    assert!(nobody.or_fail().is_err());
}

#[test]
fn only_some_architectures_have_rules() {
    assert!(cpu_models::is_supported(Arch::S390x) && !cpu_models::is_supported(Arch::Sparc));
    assert_eq!(cpu_models::models(Arch::Aarch64).unwrap(), None);
    assert!(
        cpu_models::model_names("ppc64")
            .unwrap()
            .contains(&"POWER9".to_owned())
    );
    assert!(cpu_models::model_names("sparc").is_err() && cpu_models::model_names("nonsense").is_err());
}
