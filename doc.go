// Package edge is the root of CAM-OS Edge: one static binary per device that
// measures, schedules, governs and explains AI agents. There is no code here;
// docs/architecture.md shows the rooms.
package edge
