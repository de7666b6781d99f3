// The metrics of a run's steps, which are stored in a stream beside its events.
export { STEP_FIGURES, STEP_FIGURE_NAMES, type SegmentMasks, type StepFigure, type StepMeasurement, type StepsMeasured } from '#audit';
