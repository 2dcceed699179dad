import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;

/**
 * The JDK's own server for the tests against real ones: java JdkServer.java PORT
 *
 * It chooses a handler by the decoded path's prefix. Each answer names the handler that ran, and the method.
 */
public class JdkServer {
    static HttpServer server;

    public static void main(String[] arguments) throws IOException {
        server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        handle("/api/login", "login", true);
        handle("/users/", "user", false);
        handle("/static/", "static", false);
        handle("/static", "static", true);
        handle("/mount/", "mount", false);
        handle("/", "none", false);
        server.start();
    }

    static void handle(String path, String name, boolean exact) {
        server.createContext(path, exchange -> {
            boolean found = !exact || exchange.getRequestURI().getPath().equals(path);
            String handler = found ? name : "none";
            byte[] body = ("handler=" + handler).getBytes();
            exchange.getResponseHeaders().set("x-handler", handler);
            exchange.getResponseHeaders().set("x-method", exchange.getRequestMethod());
            exchange.sendResponseHeaders(handler.equals("none") ? 404 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
    }
}
