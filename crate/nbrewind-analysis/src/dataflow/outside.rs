//! Effects outside the namespace: files, the environment, random state, settings of libraries.

use super::state::{Ambience, Common, FileTaints, ObjectId};
use super::version::{Version, digest};
use super::{AmbientChange, Manner, Touched, World};
use crate::facts::Varies;
use crate::name::Name;
use crate::program::{FilePath, Key, Outside, path_name};

impl World {
    pub(super) fn outside(&mut self, outside: Outside) {
        match outside {
            Outside::FileRead(path) => self.read_file(path),
            Outside::FolderRead(path) => self.read_folder(path),
            Outside::FileWrite(path) => self.write_file(path),
            Outside::FolderMake(path) => match self.known_path(path) {
                // Beside the files: who reads a file whose path is not known cannot read a folder.
                Some(name) => self.statement.touched.push(Touched::ChangedKey {
                    object: ObjectId::FILES,
                    key: Key::Item(name),
                    replaces: true,
                }),
                None => self.write_file(path),
            },
            Outside::EnvironmentRead(Some(variable)) => {
                let environment = self.state.object(ObjectId::ENVIRONMENT);
                let (base, origin) = (environment.base, environment.base_origin);
                let set = environment.key(Key::Attr(variable));
                self.absorb(variable, base, origin, Manner::Environment);
                match set {
                    Some((version, origin)) => {
                        self.absorb(variable, version, Some(origin), Manner::Environment);
                    }
                    None => self.vary(Varies::Environment),
                }
            }
            Outside::EnvironmentRead(None) => {
                self.vary(Varies::Environment);
                let set = self.state.common(Common::VariablesSet);
                if let Some(set) = set.and_then(|set| set.last()) {
                    let origin = self.state.object(ObjectId::ENVIRONMENT).origin;
                    let name = Name::new("the environment");
                    self.absorb_doubt(name, set.full, origin, Manner::Environment);
                }
            }
            Outside::EnvironmentWrite(Some(variable)) => {
                self.statement.touched.push(Touched::ChangedKey {
                    object: ObjectId::ENVIRONMENT,
                    key: Key::Attr(variable),
                    replaces: true,
                });
            }
            Outside::EnvironmentWrite(None) => {
                let touched = Touched::Changed(ObjectId::ENVIRONMENT);
                self.statement.touched.push(touched);
            }
            Outside::Draw(state) => {
                let which = Ambience::Random(state);
                let seeded = self.state.ambient(which).and_then(|ambient| ambient.seeded);
                // A seed that stands below only comes after this draw.
                if seeded.is_some() && !self.is_from_below(seeded) {
                    self.read_ambient(which, Manner::Random);
                    self.touch_ambient(which, AmbientChange::Advance);
                } else {
                    self.vary(Varies::Random);
                }
            }
            Outside::Varies(how) => self.vary(how),
            Outside::Seed(state) => {
                self.touch_ambient(Ambience::Random(state), AmbientChange::Replace);
            }
            Outside::Configure(library) => {
                self.touch_ambient(Ambience::Configuration(library), AmbientChange::Set);
            }
        }
    }

    fn touch_ambient(&mut self, which: Ambience, manner: AmbientChange) {
        let touched = Touched::Ambient { which, manner };
        self.statement.touched.push(touched);
    }

    fn read_file(&mut self, path: FilePath) {
        let Some(name) = self.known_path(path) else {
            self.vary(Varies::Files);
            let a_file = Name::new("a file");
            if let Some(file) = self.symbolic_file(path)
                && let files = self.state.object(ObjectId::FILES)
                && let Some((version, origin)) = files.key(Key::Attr(file))
            {
                self.absorb(a_file, version, Some(origin), Manner::File);
            }
            self.absorb_file_taint(a_file);
            let written = self.state.common(Common::FilesWritten);
            if let Some(written) = written.and_then(|written| written.last()) {
                let origin = self.state.object(ObjectId::FILES).origin;
                self.absorb_doubt(a_file, written.full, origin, Manner::File);
            }
            return;
        };
        let files = self.state.object(ObjectId::FILES);
        let written = files.key(Key::Attr(name));
        match written.or_else(|| files.key(Key::Item(name))) {
            // A restart leaves files as they are, so what is written below may be read above.
            Some((version, origin)) if self.is_from_below(Some(origin)) => {
                self.vary(Varies::Files);
                if !self.is_own(Some(origin)) {
                    self.absorb_doubt(name, version.full, Some(origin), Manner::File);
                }
            }
            Some((version, origin)) => self.absorb(name, version, Some(origin), Manner::File),
            None => self.vary(Varies::Files),
        }
        self.absorb_file_taint(name);
    }

    /// Which files there are depends on all that were written there.
    fn read_folder(&mut self, path: FilePath) {
        let Some(name) = self.known_path(path) else {
            self.read_file(FilePath::Unknown);
            return;
        };
        self.vary(Varies::Files);
        let text = name.text();
        let prefix = match text.find(['*', '?', '[']) {
            Some(at) => text[..at].to_owned(),
            None if matches!(text, "" | ".") => String::new(),
            None => format!("{}/", text.trim_end_matches('/')),
        };
        let files = self.state.object(ObjectId::FILES).keys.clone();
        for &(key, version, origin) in files.iter() {
            let (Key::Attr(file) | Key::Item(file)) = key else {
                continue;
            };
            if !file.text().starts_with(&prefix) || self.is_own(Some(origin)) {
                continue;
            }
            if self.is_from_below(Some(origin)) {
                self.absorb_doubt(file, version.full, Some(origin), Manner::File);
            } else {
                self.absorb(file, version, Some(origin), Manner::File);
            }
        }
        self.absorb_file_taint(name);
    }

    /// What may have written any file.
    fn absorb_file_taint(&mut self, name: Name) {
        let taints = self.state.file_taints();
        if let Some((value, origin)) = taints.and_then(|taints| taints.all) {
            self.absorb_doubt(name, value, Some(origin), Manner::File);
        }
    }

    fn write_file(&mut self, path: FilePath) {
        let known = self.known_path(path);
        self.absorb_folders(known);
        if let Some(name) = known.or_else(|| self.symbolic_file(path)) {
            self.statement.touched.push(Touched::ChangedKey {
                object: ObjectId::FILES,
                key: Key::Attr(name),
                replaces: true,
            });
        }
        if known.is_none() {
            self.statement.touched.push(Touched::SomeFile);
        }
    }

    /// Any file may be another one.
    pub(super) fn taint_files(&mut self, key: Version) {
        let taints = self.state.file_taints().cloned().unwrap_or_default();
        let mut each = taints.each.clone();
        each.retain(|(_, origin)| !self.is_own(Some(*origin)));
        each.push((key.full, self.step));
        let bytes: Vec<u8> = each
            .iter()
            .flat_map(|(value, _)| value.to_le_bytes())
            .collect();
        let all = Some((digest("written", &[&bytes]), self.step));
        self.state.set_file_taints(FileTaints { each, all });
    }

    /// A file can only be written where its folder is.
    fn absorb_folders(&mut self, file: Option<Name>) {
        let files = self.state.object(ObjectId::FILES).keys.clone();
        for &(key, version, origin) in files.iter() {
            let Key::Item(folder) = key else { continue };
            match file {
                Some(file) if file.text().starts_with(&format!("{}/", folder.text())) => {
                    self.absorb(folder, version, Some(origin), Manner::File);
                }
                Some(_) => {}
                None => self.absorb_doubt(folder, version.full, Some(origin), Manner::File),
            }
        }
    }

    /// A file whose path is only known as the value of a name.
    fn symbolic_file(&mut self, path: FilePath) -> Option<Name> {
        let (name, below) = match path {
            FilePath::Name(name) => (name, ""),
            FilePath::Below(name, below) => (name, below.text()),
            _ => return None,
        };
        let binding = self.binding(name)?;
        let value = binding.version.certain;
        let text = format!("{} = {value:x}/{below}", name.text());
        Some(Name::new(&text))
    }

    pub(super) fn known_path(&mut self, path: FilePath) -> Option<Name> {
        match path {
            FilePath::Literal(text) => Some(path_name(text)),
            FilePath::Name(name) => self.binding(name)?.path,
            FilePath::Below(name, below) => {
                let folder = self.binding(name)?.path?;
                let path = Name::joined(&[folder.text(), "/", below.text()]);
                Some(path_name(path))
            }
            FilePath::Unknown => None,
        }
    }
}
