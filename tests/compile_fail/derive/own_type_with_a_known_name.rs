//! A `Cell` of the user's is refused as any other type of theirs: it is not `Persist`.
use strewn::Persist;

mod grid {
    pub struct Cell;
}

#[derive(Persist)]
struct Grid {
    cells: [grid::Cell; 9],
}

fn main() {}
