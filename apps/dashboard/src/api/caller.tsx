// Who uses this page. The buttons of what the server would refuse are not shown.
import type { DescMethod } from '@bufbuild/protobuf';
import { createContext, type ComponentChildren } from 'preact';
import { useContext } from 'preact/hooks';
import { mayCall, type Caller } from './access.js';
import { accessService } from './client.js';
import { useReturn } from './live.js';
import { useLoaded } from './loaded.js';

const CallerContext = createContext<Caller | undefined>(undefined);

/** Another caller may have logged in whenever the browser was logged out. */
export function CallerProvider({ children }: { children: ComponentChildren }) {
  const { data, reload } = useLoaded('caller', (signal) => accessService.getCaller({}, { signal }));
  useReturn(reload);
  return <CallerContext.Provider value={data}>{children}</CallerContext.Provider>;
}

/** undefined: not known yet. */
export const useCaller = (): Caller | undefined => useContext(CallerContext);

/** As `mayCall`, of the caller of this page. */
export function useMay(): (method: DescMethod, launchedBy?: string) => boolean {
  const caller = useCaller();
  return (method, launchedBy) => mayCall(caller, method, launchedBy);
}

interface MayProps {
  call: DescMethod;
  /** The caller that launched the run or study that the call is about. */
  launchedBy?: string;
  children: ComponentChildren;
}

/** Shown to those only who may make the call. */
export function May({ call, launchedBy, children }: MayProps) {
  const may = useMay();
  return may(call, launchedBy) ? <>{children}</> : null;
}
