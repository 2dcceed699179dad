//! What operators see: series, log lines, the most rejected clients. Dashboards and traces have files of their own.

mod lines;
mod series;
mod top;
