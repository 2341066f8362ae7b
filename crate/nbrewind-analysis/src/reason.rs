//! Why a cell is not fresh, in one sentence, and the cells to jump to.
//!
//! Of everything that the two passes disagree on, the sentence names what explains most: the cell's own earlier run
//! before a deleted cell, an edit before what merely follows from one.

use crate::CellInput;
use crate::dataflow::{CellOutcome, Manner, ReadRecord, Varies};
use crate::memo::Text;
use crate::name::Name;
use crate::notebook::first_line;
use crate::session::{Matched, add, is_cut_short};
use crate::verdict::{Because, RunHow, RunInput, RunStatus, Verdict, VerdictState, Why};
use std::fmt::{self, Display};
use std::rc::Rc;

/// What is known when the cell's turn comes: the verdicts on all cells above, the states of all.
pub(crate) struct Evidence<'a> {
    pub cells: &'a [CellInput],
    pub runs: &'a [RunInput],
    pub page: &'a [Rc<Text>],
    pub texts: &'a [Rc<Text>],
    pub matched: &'a Matched,
    pub states: &'a [VerdictState],
    pub run_of_step: &'a [usize],
    pub ideal: &'a [CellOutcome],
    /// Those below are of an earlier call, or not there yet.
    pub verdicts: &'a mut Vec<Rc<Verdict>>,
}

/// A cell's last run and what it would read instead.
pub(crate) struct Difference<'a> {
    pub at: usize,
    pub run: usize,
    pub state: VerdictState,
    pub before: &'a CellOutcome,
    pub after: &'a CellOutcome,
    /// The cell on the page of every step of the pass that `after` is from.
    pub pages: &'a [usize],
}

/// A sentence, how much it explains, and where to jump.
struct Finding {
    rank: u32,
    why: Why,
    text: String,
    because: Vec<Because>,
}

/// What outside the notebook is not what it was when the cell ran.
pub(crate) fn outside(run: &RunInput) -> Option<String> {
    let (first, others) = run.outside.split_first()?;
    let what = match others.len() {
        0 => format!("`{first}`"),
        1 => format!("`{first}` and `{}`", others[0]),
        n => format!("`{first}` and {n} others"),
    };
    let at = run
        .number
        .map_or(String::new(), |number| format!(" at [{number}]"));
    Some(format!(
        "{what} changed outside the notebook since this cell ran{at}."
    ))
}

impl Evidence<'_> {
    /// States that need no comparison.
    pub(crate) fn plain(&self, at: usize, state: VerdictState) -> String {
        let last = self.matched.last[at];
        let ran = last
            .map(|run| self.runs[run].number)
            .map_or(String::new(), after_its_run);
        match state {
            VerdictState::Fresh => String::new(),
            VerdictState::NeverRun => "This cell has not run in this kernel.".to_owned(),
            VerdictState::Running => "This cell is running.".to_owned(),
            VerdictState::Edited => {
                format!("This cell was edited{ran}{}.", self.syntax_error(at))
            }
            VerdictState::Failed => {
                let run = last.map(|run| &self.runs[run]);
                let at = run
                    .and_then(|run| run.number)
                    .map_or(String::new(), |number| format!(" at [{number}]"));
                let how = match run.map(|run| run.status) {
                    Some(RunStatus::Interrupted) => "was interrupted",
                    _ => "failed",
                };
                format!("The run of this cell{at} {how}.")
            }
            VerdictState::Ahead => {
                let at = self.matched.last_undone[at]
                    .and_then(|run| self.runs[run].number)
                    .map_or(String::new(), |number| format!(" at [{number}]"));
                format!("This cell ran{at} after the state that was restored.")
            }
            VerdictState::Replayed => match last.map(|run| self.runs[run].how) {
                Some(RunHow::Restored) => {
                    "Its effects were restored from a recorded run.".to_owned()
                }
                _ => "Its effects were replayed from a recorded run.".to_owned(),
            },
            VerdictState::Stale | VerdictState::UpstreamEdited | VerdictState::Unknown => {
                String::new()
            }
        }
    }

    /// The sentence for a stale, upstream-edited or unknown cell.
    pub(crate) fn explain(&self, difference: Difference<'_>) -> (String, Why, Vec<Because>) {
        let is_certain = difference.state != VerdictState::Unknown;
        let version = |read: &ReadRecord| {
            if is_certain {
                read.version.certain
            } else {
                read.version.full
            }
        };
        let (before, after) = (&difference.before.reads, &difference.after.reads);
        let own = &self.page[difference.at].alone().names;
        let is_own =
            |read: &ReadRecord| own.reads.contains(&read.name) || own.mutates.contains(&read.name);
        let would_come = not_among(after, before, version);
        let came = not_among(before, after, version);
        type Score = (bool, u32, bool);
        // Of a read that `would_come` ranks as is known, the sentence is written when nothing better was found.
        let mut best: Option<(Score, Result<Finding, &ReadRecord>)> = None;
        // What the cell names itself comes first: a page can pass hundreds of names on from cell to cell, and a sentence
        // about one of those is only wanted where it is a strong one, or where there is no other.
        for wants_own in [true, false] {
            let is_settled = best.is_some();
            let score = |read: &ReadRecord, rank: u32| {
                (wants_own || rank >= STRONG, rank, read.through.is_none())
            };
            // One name can come from hundreds of cells that share objects; of those that rank alike the first speaks.
            let mut seen = Vec::new();
            for (reads, is_past) in [(&would_come, false), (&came, true)] {
                for &read in reads.iter().filter(|read| is_own(read) == wants_own) {
                    if is_settled && !(is_past && self.can_be_strong(read, &difference)) {
                        continue;
                    }
                    // Most reads are from cells further up that say why, and all but one of them are in vain.
                    let most = if is_past {
                        self.past_rank(read, &difference)
                    } else {
                        self.upstream_rank(read, &difference)
                    };
                    let known = best.as_ref().map(|(known, _)| *known);
                    let is_better = |score: Score| known.is_none_or(|known| score > known);
                    if let Some(most) = most {
                        let most = score(read, most);
                        if is_better(most) && !is_past {
                            best = Some((most, Err(read)));
                        }
                        if !is_better(most) || !is_past {
                            continue;
                        }
                    }
                    let Some(kind) = self.kind(read, &difference, is_past) else {
                        continue;
                    };
                    let kind = u64::from(read.name.index()) << 32 | u64::from(kind);
                    if seen.contains(&kind) {
                        continue;
                    }
                    seen.push(kind);
                    let finding = if is_past {
                        self.came(read, &difference)
                    } else {
                        self.would_come(read, &difference)
                    };
                    if let Some(finding) = finding
                        && is_better(score(read, finding.rank))
                    {
                        best = Some((score(read, finding.rank), Ok(finding)));
                    }
                }
            }
        }
        let finding = best.and_then(|(_, found)| {
            found.map_or_else(|read| self.would_come(read, &difference), Some)
        });
        if let Some(finding) = finding {
            return (capitalised(finding.text), finding.why, finding.because);
        }
        let text = match self.page[difference.at].alone().effects.unknown.first() {
            Some(note) if !is_certain => format!(
                "`{}` in this cell may read anything, and other cells ran or changed since the page last ran from the top.",
                note.construct
            ),
            _ => "Something that this cell reads is not what a run from the top would give it."
                .to_owned(),
        };
        (text, Why::UnknownCode, Vec::new())
    }

    /// Whether `came` may rank this read above every name of the cell's own: it is from the cell's own earlier run, from a
    /// console or from a deleted cell.
    fn can_be_strong(&self, read: &ReadRecord, difference: &Difference<'_>) -> bool {
        let run = read.origin.and_then(|step| self.run_of_step.get(step));
        run.is_some_and(|&run| self.matched.page_of_run[run].is_none_or(|own| own == difference.at))
    }

    /// All that the rank of a read depends on besides its name, as bits.
    fn kind(&self, read: &ReadRecord, difference: &Difference<'_>, is_past: bool) -> Option<u32> {
        let origin = read.origin?;
        let (run, page) = if is_past {
            let run = *self.run_of_step.get(origin)?;
            (Some(run), self.matched.page_of_run[run])
        } else {
            let page = *difference.pages.get(origin)?;
            (self.matched.last[page], Some(page))
        };
        let flags = [
            is_past,
            read.through.is_none(),
            run.is_none(),
            run.is_some_and(|run| run > difference.run),
            run.is_some_and(|run| is_cut_short(self.runs[run].status)),
            run.is_some_and(|run| self.runs[run].cell.is_empty()),
            page.is_some_and(|page| page < difference.at),
            page.is_some_and(|page| page == difference.at),
            page.is_some_and(|page| self.sets(page, read.name)) || read.version.certain == 0,
        ];
        let state = page.map_or(0, |page| self.states[page] as u32 + 1);
        let bits = flags
            .iter()
            .fold(state, |bits, &flag| bits << 1 | u32::from(flag));
        Some(bits << 4 | read.manner as u32)
    }

    /// The rank of a read from a cell that does not match its own last run: it says more than that itself.
    fn upstream_rank(&self, read: &ReadRecord, difference: &Difference<'_>) -> Option<u32> {
        let from = *difference.pages.get(read.origin?)?;
        match self.states[from] {
            _ if from == difference.at => None,
            VerdictState::UpstreamEdited => Some(70),
            VerdictState::Stale => Some(60),
            VerdictState::Unknown => Some(50),
            _ => None,
        }
    }

    /// The most that `came` ranks a read from a cell further up that did what it still says. Nobody asks for that sentence where
    /// there is a better one, and it takes longer to write.
    fn past_rank(&self, read: &ReadRecord, difference: &Difference<'_>) -> Option<u32> {
        let run = *self.run_of_step.get(read.origin?)?;
        let own = self.matched.page_of_run[run].filter(|own| *own < difference.at)?;
        let is_as_it_was = self.states[own] != VerdictState::Edited
            && !is_cut_short(self.runs[run].status)
            && self.instead(read, difference).is_some();
        is_as_it_was.then_some(40)
    }

    /// Where a run from the top would take it from.
    fn instead(&self, read: &ReadRecord, difference: &Difference<'_>) -> Option<usize> {
        let reads = difference.after.reads.iter();
        reads
            .filter(|other| other.name == read.name)
            .find_map(|other| difference.pages.get(other.origin?).copied())
            .filter(|instead| *instead != difference.at)
    }

    /// What a run from the top would read and the run did not.
    fn would_come(&self, read: &ReadRecord, difference: &Difference<'_>) -> Option<Finding> {
        let from = *difference.pages.get(read.origin?)?;
        if from == difference.at {
            return None;
        }
        let what = self.what(read, from);
        let name = Quoted(read.name);
        let ran = self.runs[difference.run].number;
        let last = self.matched.last[from];
        let mut because = vec![self.jump(read, from)];
        let (rank, why, text) = match self.states[from] {
            VerdictState::Edited
                if last.is_none_or(|last| last < difference.run)
                    || difference.state != VerdictState::Stale =>
            {
                let error = self.syntax_error(from);
                let happened = if error.is_empty() {
                    " and has not run since"
                } else {
                    &error
                };
                (
                    100,
                    Why::Edited,
                    format!("{what}, which was edited{happened}."),
                )
            }
            VerdictState::NeverRun => (95, Why::NotRun, format!("{what}, which has not run.")),
            VerdictState::Ahead => (
                95,
                Why::NotRun,
                format!("{what}, which has not run since the restore."),
            ),
            VerdictState::Failed if difference.state == VerdictState::Unknown => (
                90,
                Why::Failed,
                format!("{what}, {}.", self.did_not_finish(last?)),
            ),
            // A cell that is stale itself did not give what differs when it ran again.
            VerdictState::Fresh
            | VerdictState::Replayed
            | VerdictState::Running
            | VerdictState::Failed
            | VerdictState::Edited
                if last.is_some_and(|last| last > difference.run) =>
            {
                let place = self.label(from);
                let ran = match ran {
                    Some(number) => format!(" ran at [{number}]"),
                    None => " ran".to_owned(),
                };
                let text = match (read.manner, self.ideal[from].varies) {
                    (_, Some(how)) if difference.state == VerdictState::Unknown => {
                        format!("{what}, which {} and ran again.", did(how))
                    }
                    (Manner::Bound | Manner::Changed, _)
                        if difference.state == VerdictState::Stale =>
                    {
                        let through = through(read);
                        format!(
                            "{through}{name} changed in {place}, which ran after this cell{ran}."
                        )
                    }
                    _ => format!("{what}, which ran after this cell{ran}."),
                };
                let why = match (difference.state, self.ideal[from].varies) {
                    (VerdictState::Unknown, Some(Varies::Unknown)) => Why::UnknownCode,
                    (VerdictState::Unknown, Some(_)) => Why::Outside,
                    _ => Why::RanLater,
                };
                (80, why, text)
            }
            VerdictState::UpstreamEdited => {
                let root = self.follow(from, difference.at, &mut because);
                (
                    70,
                    Why::Upstream,
                    match root {
                        Some(root) => format!("{what}, which depends on {root}."),
                        None => format!("{what}, which depends on an edited cell."),
                    },
                )
            }
            VerdictState::Stale => {
                self.follow(from, difference.at, &mut because);
                (60, Why::Upstream, format!("{what}, which is stale."))
            }
            VerdictState::Unknown => {
                self.follow(from, difference.at, &mut because);
                (50, Why::Upstream, format!("{what}, which may be stale."))
            }
            _ if read.manner == Manner::Unknown => (20, Why::UnknownCode, format!("{what}.")),
            _ if difference
                .before
                .reads
                .iter()
                .any(|other| other.name == read.name && other.origin.is_some()) =>
            {
                (
                    30,
                    Why::OutOfOrder,
                    format!(
                        "{}From top to bottom, {name} would come from {}.",
                        through(read),
                        self.label(from)
                    ),
                )
            }
            _ => (
                30,
                Why::OutOfOrder,
                format!(
                    "{}This cell ran without {name}, which comes from {}.",
                    through(read),
                    self.label(from)
                ),
            ),
        };
        Some(Finding {
            rank,
            why,
            text,
            because,
        })
    }

    /// What the run read and a run from the top would not.
    fn came(&self, read: &ReadRecord, difference: &Difference<'_>) -> Option<Finding> {
        let run = *self.run_of_step.get(read.origin?)?;
        let name = Quoted(read.name);
        let number = self.runs[run].number;
        let ran = match self.runs[difference.run].number {
            Some(number) => format!("This cell ran at [{number}]"),
            None => "This cell ran".to_owned(),
        };
        let own = self.matched.page_of_run[run];
        let instead = self.instead(read, difference);
        let is_gone = instead.is_none();
        let failed = is_cut_short(self.runs[run].status);
        let jump = Because {
            name: Some(read.name.text().to_owned()),
            cell: Some(self.runs[run].cell.clone()).filter(|id| !id.is_empty()),
            number,
        };
        let mut because = vec![match own {
            Some(own) => Because {
                cell: Some(self.cells[own].id.clone()),
                ..jump
            },
            None => jump,
        }];
        let certain = difference.state != VerdictState::Unknown;
        let (rank, why, text) = match own {
            _ if run == difference.run => return None,
            Some(own) if own == difference.at => {
                let earlier = match number {
                    Some(number) => format!("its run at [{number}]"),
                    None => "an earlier run of it".to_owned(),
                };
                let changed = match (certain, failed) {
                    (true, _) => "had already changed",
                    (false, true) => "had failed on",
                    (false, false) => "may have changed already",
                };
                (
                    STRONG + 10,
                    Why::AlreadyChanged,
                    format!("{ran} on {name} that {earlier} {changed}."),
                )
            }
            // Nobody knows whether it did anything.
            _ if !certain && read.version.certain == 0 && read.manner != Manner::Configuration => {
                let (place, tail) = match own {
                    Some(own) => {
                        let happened = match self.states[own] {
                            VerdictState::Edited => ", which was edited",
                            _ if own > difference.at => ", which stands below this cell",
                            _ => "",
                        };
                        (self.label(own).to_string(), happened)
                    }
                    None if self.runs[run].cell.is_empty() => ("a console".to_owned(), ""),
                    None => ("a cell that was deleted".to_owned(), ""),
                };
                let verb = match read.manner {
                    Manner::File => "written",
                    _ => "changed",
                };
                (
                    25,
                    Why::UnknownCode,
                    format!("{name} may have been {verb} in {place}{tail}."),
                )
            }
            None if self.runs[run].cell.is_empty() => (
                STRONG,
                Why::Console,
                format!("{name} was set in a console; a run from the top does not do that."),
            ),
            None => {
                let line = first_line(self.texts[run].source());
                let verb = if certain { "comes" } else { "may come" };
                (
                    STRONG + 5,
                    Why::DeletedDefinition,
                    format!("{name} {verb} from a cell that was deleted (`{line}`)."),
                )
            }
            Some(own) if self.states[own] == VerdictState::Edited && !self.sets(own, read.name) => {
                (
                    90,
                    Why::RemovedDefinition,
                    format!(
                        "{name} came from {}, which was edited and does not set it any more.",
                        self.label(own)
                    ),
                )
            }
            Some(own)
                if own > difference.at
                    && !matches!(
                        read.manner,
                        Manner::Bound | Manner::Changed | Manner::Unknown
                    ) =>
            {
                (
                    85,
                    Why::OutOfOrder,
                    format!("{}, which stands below this cell.", self.what(read, own)),
                )
            }
            Some(own) if own > difference.at && is_gone => (
                85,
                Why::DefinedBelow,
                format!(
                    "{name} is defined only below, in {}: after a restart this cell would not find it.",
                    self.label(own)
                ),
            ),
            Some(own)
                if is_gone && certain && self.deleter(read.name, own, difference.at).is_some() =>
            {
                let deleter = self.deleter(read.name, own, difference.at).unwrap_or(own);
                because = vec![self.jump(read, deleter)];
                let happened = match self.states[deleter] {
                    VerdictState::Edited => ", which was edited and has not run since",
                    VerdictState::NeverRun | VerdictState::Ahead => ", which has not run",
                    _ => "",
                };
                (
                    80,
                    Why::DeletedName,
                    format!("{name} is deleted in {}{happened}.", self.label(deleter)),
                )
            }
            Some(own) if failed && !certain => (
                75,
                Why::Failed,
                format!(
                    "{} {}.",
                    self.what(read, own) + ",",
                    self.did_not_finish(run)
                ),
            ),
            Some(own) if own > difference.at => (
                65,
                Why::OutOfOrder,
                format!(
                    "{ran} with {name} from {}, which stands below it.",
                    self.label(own)
                ),
            ),
            Some(own) => match instead {
                Some(instead) if instead != own => {
                    add(
                        &mut because,
                        Because {
                            name: Some(read.name.text().to_owned()),
                            ..self.jump(read, instead)
                        },
                    );
                    (
                        40,
                        Why::OutOfOrder,
                        format!(
                            "{ran} with {name} from {}; from top to bottom it would come from {}.",
                            self.label(own),
                            self.label(instead)
                        ),
                    )
                }
                _ => (
                    10,
                    Why::RanLater,
                    format!("{ran} with {name} as {} had left it then.", self.label(own)),
                ),
            },
        };
        Some(Finding {
            rank,
            why,
            text,
            because,
        })
    }

    /// What passes from a cell to this one.
    fn what(&self, read: &ReadRecord, from: usize) -> String {
        let (name, place) = (Quoted(read.name), self.label(from));
        let through = through(read);
        match read.manner {
            Manner::Bound => format!("{through}{name} comes from {place}"),
            Manner::Changed => format!("{through}{name} is changed in {place}"),
            Manner::File if read.version.certain == 0 => {
                format!("{through}{name} may be written in {place}")
            }
            Manner::File => format!("{through}{name} is written in {place}"),
            Manner::Environment if read.name.contains(' ') => {
                format!("{through}{name} is set in {place}")
            }
            Manner::Environment => format!("{through}{name} in the environment is set in {place}"),
            Manner::Random | Manner::Configuration => {
                format!("The {} is set in {place}", read.name.text())
            }
            Manner::Unknown => format!("{through}{name} may be changed in {place}"),
        }
    }

    /// A cell as its user sees it: by the number beside it, else by its position.
    fn label(&self, at: usize) -> Label {
        let last = self.matched.last[at].or(self.matched.last_undone[at]);
        Label(last.and_then(|run| self.runs[run].number), at)
    }

    /// Whether the text on the page still has to do with the name.
    fn sets(&self, at: usize, name: Name) -> bool {
        let own = &self.page[at].alone().names;
        own.writes.contains(&name) || own.mutates.contains(&name)
    }

    /// The last cell between the two that deletes the name.
    fn deleter(&self, name: Name, from: usize, to: usize) -> Option<usize> {
        let deletes = |at: usize| self.page[at].alone().names.deletes.contains(&name);
        (from..to).rev().find(|&at| deletes(at))
    }

    fn jump(&self, read: &ReadRecord, at: usize) -> Because {
        Because {
            name: Some(read.name.text().to_owned()),
            cell: Some(self.cells[at].id.clone()),
            number: self.matched.last[at].and_then(|run| self.runs[run].number),
        }
    }

    /// Adds where the trouble of a cell began, and says what that is.
    fn follow(&self, from: usize, at: usize, because: &mut Vec<Because>) -> Option<String> {
        let root = self.verdicts[..at].get(from)?.because.last()?;
        add(because, root.clone());
        let root = root.cell.as_ref()?;
        let root = *self.matched.place_of.get(root)?;
        let place = self.label(root);
        Some(match self.states[root] {
            VerdictState::Edited => format!("the edit in {place}"),
            VerdictState::NeverRun | VerdictState::Ahead => format!("{place}, which has not run"),
            _ => place.to_string(),
        })
    }

    fn did_not_finish(&self, run: usize) -> String {
        let at = self.runs[run]
            .number
            .map_or(String::new(), |number| format!(" at [{number}]"));
        match self.runs[run].status {
            RunStatus::Interrupted => format!("whose run{at} was interrupted"),
            _ => format!("whose run{at} failed"),
        }
    }

    fn syntax_error(&self, at: usize) -> String {
        match self.page[at].alone().effects.parse_errors.first() {
            Some(error) => format!(" and has a syntax error in line {}", error.line),
            None => String::new(),
        }
    }
}

/// A cell with the number of its run, and its position.
struct Label(Option<u32>, usize);

impl Display for Label {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(to, "cell [{number}]"),
            None => write!(to, "cell {}", self.1 + 1),
        }
    }
}

/// A name as sentences have it.
struct Quoted(Name);

impl Display for Quoted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.text();
        let (before, after) = if !name.contains(' ') {
            ("`", "`")
        } else if name.starts_with("configuration of") || name.starts_with("random state of") {
            ("the ", "")
        } else {
            ("", "")
        };
        write!(to, "{before}{name}{after}")
    }
}

/// The reads that have no equal among the others.
fn not_among<'a>(
    reads: &'a [ReadRecord],
    others: &[ReadRecord],
    version: impl Fn(&ReadRecord) -> u128,
) -> Vec<&'a ReadRecord> {
    // Some bits of all versions there are: most that have no equal are told by these.
    let mut there = [0u64; 64];
    let bit = |read: &ReadRecord| {
        let version = version(read) as usize;
        (version >> 6 & 63, 1 << (version & 63))
    };
    for other in others {
        let (word, bit) = bit(other);
        there[word] |= bit;
    }
    let has_equal = |(at, read): &(usize, &ReadRecord)| {
        let is_equal =
            |other: &ReadRecord| version(other) == version(read) && other.name == read.name;
        let (word, bit) = bit(read);
        // The two lists are mostly alike.
        there[word] & bit != 0
            && (others.get(*at).is_some_and(is_equal) || others.iter().any(is_equal))
    };
    let without = reads.iter().enumerate().filter(|read| !has_equal(read));
    without.map(|(_, read)| read).collect()
}

/// From here on a finding counts more than a name of the cell's own.
const STRONG: u32 = 110;

fn after_its_run(number: Option<u32>) -> String {
    match number {
        Some(number) => format!(" after its run at [{number}]"),
        None => " after it ran".to_owned(),
    }
}

fn through(read: &ReadRecord) -> String {
    match &read.through {
        Some(function) if !function.is_empty() && *function != read.name => {
            format!("`{}` uses {}: ", function.text(), Quoted(read.name))
        }
        _ => String::new(),
    }
}

/// Sentences of ours begin with a letter or a quoted name.
fn capitalised(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn did(how: Varies) -> &'static str {
    match how {
        Varies::Unknown => "runs code that cannot be seen through",
        Varies::Environment => "read the environment",
        Varies::Files => "read files",
        Varies::Process => "started another program",
        Varies::Network => "used the network",
        Varies::Clock => "read the clock",
        Varies::Random => "drew random numbers",
    }
}
