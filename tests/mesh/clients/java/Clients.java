import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.impl.DefaultHttpRequestRetryStrategy;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.HttpResponse;
import org.apache.hc.core5.http.protocol.HttpContext;
import org.apache.hc.core5.util.TimeValue;

/**
 * Clients in Java for the tests of clients that retry:
 *
 * <pre>
 * Clients grpc PORT METHOD COUNT DEADLINE_MS    grpc-java with a usual retry policy; DEADLINE_MS is 0 for none
 * Clients http PORT PATH COUNT                  Apache HttpClient 5
 * </pre>
 *
 * Calls are made one after the other. The last line is the report, as JSON.
 */
public class Clients {
    public static void main(String[] arguments) throws Exception {
        String port = arguments[1];
        int count = Integer.parseInt(arguments[3]);
        if (arguments[0].equals("grpc")) {
            grpc(port, arguments[2], count, Integer.parseInt(arguments[4]));
        } else {
            http("http://127.0.0.1:" + port + arguments[2], count);
        }
    }

    /** Nothing, as an empty message is. */
    static final MethodDescriptor.Marshaller<byte[]> BYTES = new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            return new byte[0];
        }
    };

    /** As docs/clients.md recommends it. */
    static final Map<String, ?> RETRIES = Map.of("methodConfig", List.of(Map.of(
        "name", List.of(Map.of()),
        "retryPolicy", Map.of("maxAttempts", 5.0, "initialBackoff", "0.1s", "maxBackoff", "1s", "backoffMultiplier", 2.0,
            "retryableStatusCodes", List.of("RESOURCE_EXHAUSTED", "UNAVAILABLE")))));

    /** Reports the status code and the time in ms of each call. */
    static void grpc(String port, String name, int count, int deadline) throws InterruptedException {
        ManagedChannel channel = NettyChannelBuilder.forTarget("127.0.0.1:" + port)
            .usePlaintext().enableRetry().defaultServiceConfig(RETRIES).build();
        MethodDescriptor<byte[], byte[]> method = MethodDescriptor.newBuilder(BYTES, BYTES)
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(MethodDescriptor.generateFullMethodName("test.Clients", name)).build();
        List<Integer> codes = new ArrayList<>();
        List<Long> took = new ArrayList<>();
        while (codes.size() < count) {
            CallOptions options = deadline > 0
                ? CallOptions.DEFAULT.withDeadlineAfter(deadline, TimeUnit.MILLISECONDS)
                : CallOptions.DEFAULT;
            long began = System.nanoTime();
            int code = 0;
            try {
                ClientCalls.blockingUnaryCall(channel, method, options, new byte[0]);
            } catch (StatusRuntimeException error) {
                code = error.getStatus().getCode().value();
            }
            took.add((System.nanoTime() - began) / 1_000_000);
            codes.add(code);
        }
        channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        System.out.println("{\"codes\": " + codes + ", \"took\": " + took + "}");
    }

    /** Notes Retry-After in seconds and the wait that the client takes from it in ms. */
    static class Strategy extends DefaultHttpRequestRetryStrategy {
        final List<Long> requested = new ArrayList<>();
        final List<Long> waits = new ArrayList<>();

        Strategy() {
            super(5, TimeValue.ofSeconds(1));
        }

        @Override
        public TimeValue getRetryInterval(HttpResponse response, int attempt, HttpContext context) {
            TimeValue wait = super.getRetryInterval(response, attempt, context);
            requested.add(Long.parseLong(response.getFirstHeader("retry-after").getValue()));
            waits.add(wait.toMilliseconds());
            return wait;
        }
    }

    static void http(String url, int count) throws Exception {
        Strategy strategy = new Strategy();
        List<Integer> statuses = new ArrayList<>();
        try (var client = HttpClients.custom().setRetryStrategy(strategy).build()) {
            while (statuses.size() < count) {
                statuses.add(client.execute(new HttpGet(url), response -> {
                    response.getEntity().getContent().readAllBytes();
                    return response.getCode();
                }));
            }
        }
        System.out.println("{\"statuses\": " + statuses + ", \"requested\": " + strategy.requested + ", \"waits\": " + strategy.waits + "}");
    }
}
