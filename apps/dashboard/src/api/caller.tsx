// Tells who uses this page. Buttons are hidden if the server would refuse the caller.
import type { DescMethod } from '@bufbuild/protobuf';
import { createContext, type ComponentChildren } from 'preact';
import { useContext } from 'preact/hooks';
import { mayCall, type Caller } from './allowed-calls.js';
import { accessService } from './client.js';
import { useReturn } from './live.js';
import { useLoaded } from './loaded-data.js';

const CallerContext = createContext<Caller | undefined>(undefined);

/** Asks for the caller again after each return of the server: another caller may have logged in. */
export function CallerProvider({ children }: { children: ComponentChildren }) {
  const { data, reload } = useLoaded('caller', (signal) => accessService.getCaller({}, { signal }));
  useReturn(reload);
  return <CallerContext.Provider value={data}>{children}</CallerContext.Provider>;
}

/** The caller of this page; undefined: not known yet. */
export const useCaller = (): Caller | undefined => useContext(CallerContext);

/** Returns a function that tells whether the person who opened this page may call a method. */
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

/** Shows its children only to callers who may make the call. */
export function May({ call, launchedBy, children }: MayProps) {
  const may = useMay();
  return may(call, launchedBy) ? <>{children}</> : null;
}
