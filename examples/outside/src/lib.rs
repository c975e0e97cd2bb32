//! The crates as a program outside of the workspace uses them: see the tests.
