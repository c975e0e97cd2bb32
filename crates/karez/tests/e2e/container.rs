//! The container image of `packaging/container`: the words of its Dockerfile, with the built binary.
//! `packaging/container/test` runs a static one in the root directory of the image.

use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment;
use crate::programs::has;
use crate::server::{KAREZ, Server};

/// Instructions of a stage, each with its arguments.
type Stage = Vec<(String, String)>;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/container").join(name)
}

fn stages() -> Vec<Stage> {
    let text = fs::read_to_string(packaging("Dockerfile")).unwrap();
    let mut stages = Vec::<Stage>::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, arguments) = line.split_once(' ').expect("an instruction with arguments");
        if name == "FROM" {
            stages.push(Stage::new());
        }
        stages.last_mut().expect("FROM").push((name.to_owned(), arguments.to_owned()));
    }
    stages
}

/// Returns the arguments of the only instruction of this name.
fn only<'a>(stage: &'a Stage, name: &str) -> &'a str {
    let mut found = stage.iter().filter(|(instruction, _)| instruction == name);
    let (_, arguments) = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} stands there twice");
    arguments
}

/// Returns the words of an exec form, which stand behind options.
fn words(arguments: &str) -> Vec<String> {
    serde_json::from_str(&arguments[arguments.find('[').expect("an exec form")..]).unwrap()
}

#[test]
fn words_of_the_dockerfile_serve_and_check_the_health() {
    let stages = stages();
    let image = stages.last().unwrap();
    assert_eq!(only(image, "FROM"), "scratch");
    let program = words(only(image, "ENTRYPOINT"));
    assert_eq!(program, ["/bin/karez"]);
    let check = words(only(image, "HEALTHCHECK"));
    assert_eq!(check[0], program[0]);
    let port = format!(":{}", only(image, "EXPOSE"));
    // The directory and the port of this test in place of those of the image.
    let root = tempfile::tempdir().unwrap();
    let served = root.path().display().to_string();
    let arguments: Vec<_> = words(only(image, "CMD"))
        .into_iter()
        .map(|word| word.replace("/srv", &served).replace(&format!("0.0.0.0{port}"), "127.0.0.1:0"))
        .collect();
    assert!(arguments.contains(&served) && arguments.contains(&"127.0.0.1:0".to_owned()));
    let mut command = Command::new(KAREZ);
    command.args(arguments);
    let server = Server::spawn(command);
    assert_eq!(server.get("/").status, 200);
    let (url, check) = check.split_last().unwrap();
    let url = url.replace(&port, &format!(":{}", server.address.port()));
    let status = |path: &str| {
        let output = Command::new(KAREZ).args(&check[1..]).arg(format!("{url}{path}")).output();
        output.unwrap().status.code()
    };
    assert_eq!((status(""), status("-missing")), (Some(0), Some(1)));
    let signal = only(image, "STOPSIGNAL");
    assert_eq!(signal, "SIGTERM");
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
}

#[test]
fn stages_and_paths_of_the_dockerfile_exist() {
    let stages = stages();
    let [build, image] = &stages[..] else { panic!("{} stages", stages.len()) };
    let known = "FROM WORKDIR COPY RUN USER EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD";
    for (name, _) in stages.iter().flatten() {
        assert!(known.split(' ').any(|known| known == name), "{name}");
    }
    let name = only(build, "FROM").split_once(" AS ").expect("a name").1;
    assert_eq!(only(image, "COPY"), format!("--from={name} /image/ /"));
    let script = "packaging/container/build /image";
    assert!(build.contains(&("RUN".to_owned(), script.to_owned())));
    for script in ["build", "root", "test"] {
        use std::os::unix::fs::PermissionsExt as _;
        assert!(fs::metadata(packaging(script)).unwrap().permissions().mode() & 0o111 != 0);
    }
}

#[test]
fn root_directory_has_the_program_and_its_user() {
    if !has("strip") || !has("bash") {
        return;
    }
    environment::normalize();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let output = Command::new(packaging("root")).arg("/bin/true").arg(&root).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let image = stages().pop().unwrap();
    let (user, group) = only(&image, "USER").split_once(':').unwrap();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert!(read("etc/passwd").starts_with(&format!("karez:x:{user}:{group}:")));
    assert!(read("etc/group").starts_with(&format!("karez:x:{group}:")));
    let mut names: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "dev", "etc", "proc", "srv"]);
    let program = Command::new(root.join("bin/karez")).status().unwrap();
    assert!(program.success(), "it is the program that was given");
}
