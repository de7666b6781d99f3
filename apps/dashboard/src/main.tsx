import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { App } from './app.js';
import { applyTheme } from './ui/theme.js';

applyTheme();
render(<App />, document.getElementById('page')!);
