use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::record::tests::Scratch;

fn place(path: &Path, force: bool) -> Result<Place, FileError> {
    Place::new(path, force, None)
}

fn write(place: &Place, text: &str) -> Result<(), FileError> {
    let name = place.name(None);
    place
        .create(&name, |file, _| file.write_all(text.as_bytes()))
        .map(drop)
}

#[test]
fn a_new_file_is_private() {
    let scratch = Scratch::new();
    let path = scratch.path("new");
    write(&place(&path, false).unwrap(), "text").unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.len(), 4);
}

#[test]
fn a_new_file_has_its_beginning_before_its_name() {
    let scratch = Scratch::new();
    let path = scratch.path("new");
    let place = place(&path, false).unwrap();
    let created = place.create(&place.name(None), |file, _| {
        assert!(!path.exists());
        file.write_all(b"text")
    });
    assert!(created.is_ok());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    std::fs::remove_file(&path).unwrap();
    let refused = place.create(&place.name(None), |_, _| std::fs::write(&path, "theirs"));
    assert!(matches!(refused, Err(FileError::Exists(_))), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(scratch.names(), ["new"]);
}

#[test]
fn what_exists_is_replaced_only_by_force_and_only_when_the_new_is_there() {
    let scratch = Scratch::new();
    let path = scratch.path("file");
    std::fs::write(&path, "old").unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let refused = write(&place(&path, false).unwrap(), "new");
    assert!(matches!(refused, Err(FileError::Exists(_))), "{refused:?}");
    let force = place(&path, true).unwrap();
    let failed = force.create(&force.name(None), |_, _| -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(failed.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    write(&force, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), inode);
    // Nothing else is left there.
    assert_eq!(scratch.names(), ["file"]);
}

#[test]
fn a_draft_is_there_once_it_is_complete() {
    let scratch = Scratch::new();
    let path = scratch.path("page");
    let draft = place(&path, false).unwrap().draft().unwrap();
    draft.file().write_all(b"half").unwrap();
    assert!(!path.exists());
    drop(draft);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());

    let draft = place(&path, false).unwrap().draft().unwrap();
    draft.file().write_all(b"whole").unwrap();
    draft.publish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(scratch.names(), ["page"]);
}

#[test]
fn a_draft_replaces_only_by_force_also_what_came_meanwhile() {
    let scratch = Scratch::new();
    let path = scratch.path("page");
    let draft = place(&path, false).unwrap().draft().unwrap();
    std::fs::write(&path, "theirs").unwrap();
    let refused = draft.publish();
    assert!(matches!(refused, Err(FileError::Exists(_))), "{refused:?}");
    for refused in [
        place(&path, false).unwrap().check(),
        place(&path, false).unwrap().draft().map(drop),
    ] {
        assert!(matches!(refused, Err(FileError::Exists(_))), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");

    let draft = place(&path, true).unwrap().draft().unwrap();
    draft.file().write_all(b"ours").unwrap();
    std::fs::remove_file(&path).unwrap();
    symlink("elsewhere", &path).unwrap();
    let refused = draft.publish();
    assert!(matches!(refused, Err(FileError::Link(_))), "{refused:?}");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "theirs").unwrap();
    let draft = place(&path, true).unwrap().draft().unwrap();
    draft.file().write_all(b"ours").unwrap();
    draft.publish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    assert_eq!(scratch.names(), ["page"]);
}

#[test]
fn no_link_is_followed() {
    let scratch = Scratch::new();
    let target = scratch.path("target");
    let directory = scratch.path("directory");
    std::fs::create_dir(&directory).unwrap();
    symlink(&target, scratch.path("dangling")).unwrap();
    symlink(&directory, scratch.path("to-directory")).unwrap();
    for force in [false, true] {
        let link = write(&place(&scratch.path("dangling"), force).unwrap(), "x");
        assert!(matches!(link, Err(FileError::Link(_))), "{link:?}");
        let inside = place(&scratch.path("to-directory/file"), force);
        assert!(matches!(inside, Err(FileError::Link(_))), "{inside:?}");
        let special = write(&place(Path::new("/dev/null"), force).unwrap(), "x");
        assert!(matches!(special, Err(FileError::Special(_))), "{special:?}");
        let directory = write(&place(&directory, force).unwrap(), "x");
        assert!(
            matches!(directory, Err(FileError::Special(_))),
            "{directory:?}"
        );
    }
    assert!(!target.exists());
}

#[test]
fn what_names_no_file_makes_none() {
    let scratch = Scratch::new();
    for path in ["new/", "new/.", "new//", ".."] {
        let refused = place(&scratch.path(path), true);
        assert!(matches!(refused, Err(FileError::NoName(_))), "{refused:?}");
    }
    assert!(scratch.names().is_empty());
}

#[test]
fn names_cannot_break_lines() {
    assert_eq!(
        shown(Path::new("a\nhint: b\u{1b}[2J")),
        r"a\x0ahint: b\x1b[2J"
    );
    assert_eq!(shown(Path::new("/tmp/é.tracer")), "/tmp/é.tracer");
    let scratch = Scratch::new();
    let path = scratch.path("a\nb");
    std::fs::write(&path, "").unwrap();
    let refused = place(&path, false).unwrap().check().unwrap_err();
    let message = refused.to_string();
    assert!(message.contains(r"a\x0ab exists"), "{message}");
}

#[test]
fn an_error_names_the_file_that_was_asked_for() {
    let scratch = Scratch::new();
    // Its temporary name is too long for the file system, itself it is not.
    let path = scratch.path(&"n".repeat(255));
    let refused = place(&path, false).unwrap().draft().unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains("/nnn") && !message.contains("/.nnn"),
        "{message}"
    );
}

#[test]
fn a_directory_is_looked_up_once() {
    let scratch = Scratch::new();
    let (before, after) = (scratch.path("before"), scratch.path("after"));
    std::fs::create_dir(&before).unwrap();
    let place = place(&before.join("file"), false).unwrap();
    std::fs::rename(&before, &after).unwrap();
    symlink("/nowhere", &before).unwrap();
    write(&place, "x").unwrap();
    assert!(after.join("file").exists());
}

#[test]
fn parts_are_numbered_before_the_extension() {
    let name = |name: &str, part| part_name(OsStr::new(name), part).into_string().unwrap();
    assert_eq!(name("web.tracer", 1), "web.000001.tracer");
    assert_eq!(name("web", 12), "web.000012");
    assert_eq!(name(".web", 3), ".web.000003");
    assert_eq!(name("a.b.c", 1_234_567), "a.b.1234567.c");
}

#[test]
fn the_next_part_is_found_though_some_are_gone() {
    let scratch = Scratch::new();
    for name in [
        "web.000003.tracer",
        "web.000005.tracer",
        "web.x.tracer",
        "other.000004.tracer",
    ] {
        std::fs::write(scratch.path(name), "").unwrap();
    }
    let next = |number| successor(&scratch.path(&format!("web.{number:06}.tracer")), number);
    assert_eq!(next(2), Some((scratch.path("web.000003.tracer"), 3)));
    assert_eq!(next(3), Some((scratch.path("web.000005.tracer"), 5)));
    assert_eq!(next(5), None);
    assert_eq!(successor(&scratch.path("renamed"), 3), None);
}
