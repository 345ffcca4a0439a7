//! What an author outside the tree does with the documentation in hand, done.
#![forbid(unsafe_code)]

use virt_api::testkit::TempRoot;
use virt_tests_outside::{Outside, Page, Published, Result, built, workspace, xtask};

/// Output without what no reader sees: spaces at ends of lines, empty lines around it.
fn seen(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_matches('\n')
        .to_owned()
}

/// docs/writing-a-driver.md: its files build, its commands give what it shows, its test passes.
#[test]
fn the_page_about_drivers_is_true() -> Result<()> {
    let built = built()?;
    let text =
        std::fs::read_to_string(workspace().join("docs/writing-a-driver.md")).map_err(|e| e.to_string())?;
    let page = Page::read(&text);
    let smallest = page.file("smallest/src/lib.rs")?;
    assert!(
        smallest.lines().filter(|line| !line.is_empty()).count() < 10,
        "the smallest driver has under ten lines"
    );

    let folder = TempRoot::new();
    page.write(folder.path())?;
    let published = Published::get()?;
    let nothing = Outside::adopt(&folder.path().join("smallest"), published)?;
    nothing.install("nothing", None)?;
    let answer = nothing.virsh(built, &["-c", "nothing:///", "hostname"])?;
    assert!(
        answer.contains("this function is not supported by the connection driver"),
        "{answer}"
    );

    let moon = Outside::adopt(&folder.path().join("moon"), published)?;
    moon.install("moon", Some(page.file("moon/virt-driver-moon.toml")?))?;
    assert!(!page.commands.is_empty(), "the page shows commands");
    for (command, expected) in &page.commands {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("virsh"), "{command}");
        let words: Vec<&str> = words.collect();
        assert_eq!(seen(&moon.virsh(built, &words)?), seen(expected), "{command}");
    }
    moon.cargo(&["test", "--quiet"])?;
    Ok(())
}

/// What `new-driver` writes builds, keeps the rules, and is found once it is installed.
#[test]
fn a_new_driver_is_complete() -> Result<()> {
    let built = built()?;
    let folder = TempRoot::new();
    let weather = folder.path().join("weather");
    let place = weather.display().to_string();
    xtask(&["new-driver", "far-weather", "--published", "--dir", &place])?;
    let weather = Outside::adopt(&weather, Published::get()?)?;
    weather.install_by_hand("far-weather")?;
    let answer = weather.virsh(built, &["-c", "far-weather:///default", "list", "--all"])?;
    assert_eq!(seen(&answer), " Id   Name   State\n--------------------");
    weather.cargo(&["test", "--quiet"])?;
    Ok(())
}
