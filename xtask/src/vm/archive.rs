//! Debian's kernels, fetched into a folder and unpacked there: nothing is installed.
//!
//! apt does the fetching, and checks the signatures, with a configuration of its own; the mirror is the
//! one this machine uses. Known gap: only the amd64 cloud flavour, the smallest.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::image;
use super::process::{output_of, run};

/// One kernel, unpacked.
pub(super) struct Kernel {
    /// As `uname -r` says in it.
    pub(super) release: String,
    /// ELF image, ready to boot.
    pub(super) vmlinux: PathBuf,
    /// Folder of its modules.
    pub(super) modules: PathBuf,
}

/// Suites that together have the kernels of many years. The second word says from which archive.
const SUITES: [(&str, &str); 3] = [
    ("bullseye-security", SECURITY),
    ("bookworm-security", SECURITY),
    ("trixie-backports", MAIN),
];
const MAIN: &str = "Debian";
const SECURITY: &str = "Debian-Security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const FLAVOUR: &str = "-cloud-amd64";

/// Kernels in a cache folder, and where more come from.
pub(super) struct Archive {
    cache: PathBuf,
    /// Names of all packages on offer, once they were asked for.
    offered: Option<Vec<String>>,
}

impl Archive {
    pub(super) fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            offered: None,
        }
    }

    /// A kernel of the series, such as `6.12`: the one in the cache, or else the newest on offer.
    pub(super) fn kernel(&mut self, series: &str, update: bool) -> Result<Kernel> {
        let folder = self.cache.join("kernels").join(series);
        if !update && let Some(kernel) = cached(&folder)? {
            return Ok(kernel);
        }
        let names = newest(self.offered()?, series).with_context(|| {
            format!("Debian has no kernel {series}\nhint: `cargo xtask vm --list` names them")
        })?;
        let scratch = folder.with_extension("new");
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        for name in &names {
            eprintln!("fetching {name}");
            run(self
                .apt("apt-get")
                .current_dir(&scratch)
                .args(["-q", "download", name]))?;
        }
        let tree = scratch.join("tree");
        for entry in fs::read_dir(&scratch)? {
            let package = entry?.path();
            if package.extension().is_some_and(|kind| kind == "deb") {
                run(Command::new("dpkg-deb").arg("-x").args([&package, &tree]))?;
                fs::remove_file(&package)?;
            }
        }
        let release = take_kernel(&tree, &scratch)?;
        fs::remove_dir_all(&tree)?;
        fs::write(scratch.join("release"), release)?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(&scratch, &folder)?;
        cached(&folder)?.context("the kernel just unpacked is not there")
    }

    /// All series on offer, oldest first.
    pub(super) fn series(&mut self) -> Result<Vec<String>> {
        let mut series: Vec<String> = self
            .offered()?
            .iter()
            .filter_map(|name| series_of(release_of(name)?))
            .collect();
        series.sort_by_key(|name| numbers(name));
        series.dedup();
        Ok(series)
    }

    fn offered(&mut self) -> Result<&[String]> {
        if self.offered.is_none() {
            self.configure()?;
            run(self.apt("apt-get").args(["-q", "update"]))?;
            let text = output_of(self.apt("apt-cache").args(["pkgnames", "linux-"]))?;
            self.offered = Some(text.lines().map(ToOwned::to_owned).collect());
        }
        Ok(self.offered.as_deref().unwrap_or_default())
    }

    fn configure(&self) -> Result<()> {
        let apt = self.cache.join("apt");
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(folder))?;
        }
        fs::write(apt.join("status"), "")?;
        let targets = output_of(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(LABEL)",
            "Created-By: Packages",
        ]))?;
        let mut sources = String::new();
        for (suite, label) in SUITES {
            let mirror = mirror(&targets, label).with_context(|| {
                format!("apt on this machine has no mirror of {label} to take kernels from")
            })?;
            writeln!(
                sources,
                "deb [signed-by={KEYRING} arch=amd64] {mirror} {suite} main"
            )?;
        }
        fs::write(apt.join("sources.list"), sources)?;
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let apt = self.cache.join("apt");
        let at = |name: &str| apt.join(name).display().to_string();
        let mut command = Command::new(program);
        for setting in [
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The user whom apt changes to cannot write into a folder of the repository.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &setting]);
        }
        command
    }
}

fn cached(folder: &Path) -> Result<Option<Kernel>> {
    let Ok(release) = fs::read_to_string(folder.join("release")) else {
        return Ok(None);
    };
    let absolute = fs::canonicalize(folder)?;
    Ok(Some(Kernel {
        release,
        vmlinux: absolute.join("vmlinux"),
        modules: absolute.join("modules"),
    }))
}

/// Moves what is needed out of an unpacked package; yields the release.
fn take_kernel(tree: &Path, to: &Path) -> Result<String> {
    let modules = ["usr/lib/modules", "lib/modules"]
        .iter()
        .find_map(|place| fs::read_dir(tree.join(place)).ok()?.next()?.ok())
        .context("the package has no folder of modules")?;
    let release = modules.file_name().display().to_string();
    let compressed = [
        modules.path().join("vmlinuz"),
        tree.join("boot").join(format!("vmlinuz-{release}")),
    ];
    let compressed = compressed
        .iter()
        .find(|file| file.is_file())
        .context("the package has no kernel image")?;
    image::unpack(compressed, &to.join("vmlinux"))?;
    fs::rename(modules.path(), to.join("modules"))?;
    Ok(release)
}

/// The mirror that apt uses for an archive; known by its label, or its path if the lists are not here.
fn mirror<'t>(targets: &'t str, label: &str) -> Option<&'t str> {
    let path = label.to_lowercase();
    targets.lines().find_map(|line| {
        let (uri, its_label) = line.split_once(' ')?;
        let last = uri.trim_end_matches('/').rsplit('/').next()?;
        (its_label == label || last == path).then_some(uri)
    })
}

/// Packages that make up the newest kernel of a series.
fn newest(offered: &[String], series: &str) -> Option<Vec<String>> {
    let release = offered
        .iter()
        .filter_map(|name| release_of(name))
        .filter(|release| series_of(release).as_deref() == Some(series))
        .max_by_key(|release| numbers(release))?;
    let on_offer = |prefix: &str| {
        let name = format!("{prefix}{release}");
        offered.contains(&name).then_some(name)
    };
    // From Linux 6.19 the image package only points to that of the binary.
    let image = on_offer("linux-binary-").or_else(|| on_offer("linux-image-"))?;
    Some(
        std::iter::once(image)
            .chain(on_offer("linux-modules-"))
            .collect(),
    )
}

/// The release that a package of a kernel image is for.
fn release_of(package: &str) -> Option<&str> {
    let release = package
        .strip_prefix("linux-image-")
        .or_else(|| package.strip_prefix("linux-binary-"))?;
    series_of(release.strip_suffix(FLAVOUR)?)?;
    Some(release)
}

/// `6.12` of `6.12.48+deb13`; nothing of a name without a patch level, which is that of a meta-package.
fn series_of(release: &str) -> Option<String> {
    let mut parts = release.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    parts.next()?;
    let number = |text: &str| text.parse::<u32>().is_ok();
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

/// All numbers in a text, to sort versions by.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Fails with what to do unless apt and its keys are here.
pub(super) fn check_tools() -> Result<()> {
    if !Path::new(KEYRING).is_file() {
        bail!(
            "{KEYRING} is missing: kernels are taken from Debian's archive\n\
             hint: apt install debian-archive-keyring"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Vec<String> {
        [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-48-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.48+deb12-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(ToOwned::to_owned)
        .to_vec()
    }

    #[test]
    fn newest_of_a_series() {
        let offered = offered();
        let names = |series| newest(&offered, series);
        assert_eq!(
            names("6.1"),
            Some(vec!["linux-image-6.1.0-48-cloud-amd64".into()])
        );
        assert_eq!(
            names("6.12"),
            Some(vec!["linux-image-6.12.117+deb12-cloud-amd64".into()])
        );
        assert_eq!(
            names("7.3"),
            Some(vec![
                "linux-binary-7.3.4+deb13-cloud-amd64".into(),
                "linux-modules-7.3.4+deb13-cloud-amd64".into()
            ])
        );
        assert_eq!(names("7"), None);
    }

    #[test]
    fn mirror_by_label_or_path() {
        let targets =
            "http://a/x/ Other\nhttp://b/debian/ \nhttp://c/mirror/sec/ Debian-Security\n";
        assert_eq!(mirror(targets, MAIN), Some("http://b/debian/"));
        assert_eq!(mirror(targets, SECURITY), Some("http://c/mirror/sec/"));
        assert_eq!(mirror("http://a/ubuntu/ Ubuntu\n", MAIN), None);
    }
}
