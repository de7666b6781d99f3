// The health service of gRPC, which tells of each service whether it can work now. It is our own, because the package for it reads the text
// of the protocol at each start, and takes a tenth of a process's start for that.
import { status as grpcStatus, type Server, type ServerWritableStream } from '@grpc/grpc-js';
import {
  HealthCheckResponse_ServingStatus as ServingStatus,
  HealthService,
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthServer,
} from './generated/grpc/health/v1/health.js';

type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

export class Health {
  private readonly statuses = new Map<string, ServingStatus>();
  private readonly watchers = new Set<Watcher>();

  /** @param service the full name of a service; '': the whole server */
  set(service: string, serving: boolean): void {
    const status = serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    this.statuses.set(service, status);
    for (const watcher of this.watchers) if (watcher.request.service === service) watcher.write({ status });
  }

  addTo(server: Server): void {
    const service: HealthServer = {
      check: ({ request }, answer) => {
        const status = this.statuses.get(request.service);
        if (status !== undefined) answer(null, { status });
        else answer({ code: grpcStatus.NOT_FOUND, details: `Health status unknown for service ${request.service}` });
      },
      watch: (call) => {
        this.watchers.add(call);
        call.on('cancelled', () => this.watchers.delete(call));
        call.write({ status: this.statuses.get(call.request.service) ?? ServingStatus.SERVICE_UNKNOWN });
      },
      list: (_, answer) => answer(null, { statuses: Object.fromEntries([...this.statuses].map(([name, status]) => [name, { status }])) }),
    };
    server.addService(HealthService, service);
  }
}
