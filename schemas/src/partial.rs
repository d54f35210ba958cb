//! Partials: what one source partition contributes to a row; a row's value is the sum of its partials. They add up
//! in any order.
//!
//! Layouts, varints as in [`crate::wire`]: cells are `count x (quarter of the day u8, count, sum)` with
//! rising quarters; a day's partial is `1 | cells`, a user's `2 | count x (type text, cells) | positions` with rising types
//! and positions as in [`crate::positions`].

use crate::amount::Sum;
use crate::commit::Link;
use crate::positions::{Position, Positions};
use crate::wire::{self, Malformed, Reader};
use crate::{Amount, Offset};

const VERSION: u8 = 1;
const USER_VERSION: u8 = 2;

/// Count and sum of one quarter-hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Quarter-hour of the UTC day, 0 to 95.
    pub of_day: u8,
    /// Events counted.
    pub count: u64,
    /// Sum of their amounts.
    pub sum: Sum,
}

/// The cells of one UTC day, sparse and rising.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cells(Vec<Cell>);

/// A day row's partial: one tenant's events of one type on one UTC day.
pub type DayPartial = Cells;

/// A user row's partial: one user's events on one UTC day, by type, and where the newest of them lie.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UserPartial {
    types: Vec<(String, Cells)>,
    positions: Positions,
}

impl Cells {
    /// Counts one event back that was counted here: what is then 0 in count and sum is not held.
    pub fn take_back(&mut self, of_day: u8, amount: Option<Amount>) {
        let sum = amount.map_or(0, |amount| i128::from(amount.millionths()));
        let Ok(index) = self.0.binary_search_by_key(&of_day, |cell| cell.of_day) else {
            return;
        };
        let Some(cell) = self.0.get_mut(index) else { return };
        cell.count = cell.count.saturating_sub(1);
        cell.sum.0 = cell.sum.0.saturating_sub(sum);
        if cell.count == 0 && cell.sum.0 == 0 {
            self.0.remove(index);
        }
    }

    /// Counts one event.
    pub fn add(&mut self, of_day: u8, amount: Option<Amount>) {
        let sum = amount.map_or(0, |amount| i128::from(amount.millionths()));
        self.add_cell(Cell {
            of_day,
            count: 1,
            sum: Sum(sum),
        });
    }

    /// Adds a cell.
    pub fn add_cell(&mut self, cell: Cell) {
        // Events mostly come in order of time, so the last cell is tried first.
        let place = match self.0.last() {
            Some(last) if last.of_day < cell.of_day => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&cell.of_day, |cell| cell.of_day),
        };
        match place {
            Ok(index) => {
                if let Some(mine) = self.0.get_mut(index) {
                    // Sums of what was really counted cannot get there; a store's broken bytes can.
                    mine.count = mine.count.saturating_add(cell.count);
                    mine.sum.0 = mine.sum.0.saturating_add(cell.sum.0);
                }
            }
            Err(index) => self.0.insert(index, cell),
        }
    }

    /// Adds another partial.
    pub fn merge(&mut self, other: &Self) {
        for cell in &other.0 {
            self.add_cell(*cell);
        }
    }

    /// The cells, rising.
    pub fn cells(&self) -> &[Cell] {
        &self.0
    }

    /// The bytes of a day row's partial.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.0.len() * 6);
        out.push(VERSION);
        self.put(&mut out);
        out
    }

    /// Reads a day row's partial.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "day partial");
        if reader.byte()? != VERSION {
            return Err(reader.malformed());
        }
        let cells = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(cells)
    }

    fn put(&self, out: &mut Vec<u8>) {
        wire::put_u64(out, self.0.len() as u64);
        for cell in &self.0 {
            out.push(cell.of_day);
            wire::put_u64(out, cell.count);
            wire::put_i128(out, cell.sum.0);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut cells: Vec<Cell> = Vec::with_capacity(reader.clone().count(3)?);
        for _ in 0..reader.count(3)? {
            let cell = Cell {
                of_day: reader.byte()?,
                count: reader.u64()?,
                sum: Sum(reader.i128()?),
            };
            if cell.of_day >= 96 || cells.last().is_some_and(|last| last.of_day >= cell.of_day) {
                return Err(reader.malformed());
            }
            cells.push(cell);
        }
        Ok(Self(cells))
    }
}

impl UserPartial {
    /// Counts one event.
    pub fn add(&mut self, event_type: &str, of_day: u8, amount: Option<Amount>) {
        self.cells_mut(event_type).add(of_day, amount);
    }

    /// Counts one event back that was counted here.
    pub fn take_back(&mut self, event_type: &str, of_day: u8, amount: Option<Amount>) {
        self.cells_mut(event_type).take_back(of_day, amount);
        self.types.retain(|(_, cells)| !cells.0.is_empty());
    }

    /// Remembers where the event lies that was counted, or counted back: behind all that came before, in the commit
    /// record `link`.
    pub fn remember(&mut self, offset: Offset, reverse: bool, link: Link) {
        self.positions.add(Position { offset, reverse }, link);
    }

    /// Where the newest events lie.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Adds what another partial counted; positions are of one source partition and stay as they are.
    pub fn merge(&mut self, other: &Self) {
        for (event_type, cells) in &other.types {
            self.cells_mut(event_type).merge(cells);
        }
    }

    /// The types with their cells, rising by type.
    pub fn types(&self) -> &[(String, Cells)] {
        &self.types
    }

    /// The bytes of a user row's partial.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.push(USER_VERSION);
        wire::put_u64(&mut out, self.types.len() as u64);
        for (event_type, cells) in &self.types {
            wire::put_bytes(&mut out, event_type.as_bytes());
            cells.put(&mut out);
        }
        self.positions.put(&mut out);
        out
    }

    /// Reads a user row's partial.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "user partial");
        if reader.byte()? != USER_VERSION {
            return Err(reader.malformed());
        }
        let mut types: Vec<(String, Cells)> = Vec::with_capacity(reader.clone().count(2)?);
        for _ in 0..reader.count(2)? {
            let event_type = reader.text()?.to_owned();
            if types.last().is_some_and(|(last, _)| *last >= event_type) {
                return Err(reader.malformed());
            }
            types.push((event_type, Cells::read(&mut reader)?));
        }
        let positions = Positions::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { types, positions })
    }

    fn cells_mut(&mut self, event_type: &str) -> &mut Cells {
        let index = match self
            .types
            .binary_search_by(|(known, _)| known.as_str().cmp(event_type))
        {
            Ok(index) => index,
            Err(index) => {
                self.types
                    .insert(index, (event_type.to_owned(), Cells::default()));
                index
            }
        };
        #[expect(
            clippy::indexing_slicing,
            reason = "found or inserted at this index just above"
        )]
        &mut self.types[index].1
    }
}
