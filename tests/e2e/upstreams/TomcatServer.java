import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * Tomcat for the tests against real servers: java -cp tomcat-embed-core.jar TomcatServer.java PORT FOLDER
 *
 * Each answer names the servlet that ran, and the method.
 */
public class TomcatServer {
    static Context context;

    public static void main(String[] arguments) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setHostname("127.0.0.1");
        tomcat.setPort(Integer.parseInt(arguments[0]));
        tomcat.setBaseDir(arguments[1]);
        tomcat.getConnector();
        context = tomcat.addContext("", null);
        map("/api/login", "login", 200);
        map("/users/*", "user", 200);
        map("/static/*", "static", 200);
        map("/mount/*", "mount", 200);
        map("/", "none", 404);
        tomcat.start();
        tomcat.getServer().await();
    }

    static void map(String pattern, String name, int status) {
        Tomcat.addServlet(context, name, new Servlet(name, status));
        context.addServletMappingDecoded(pattern, name);
    }

    static class Servlet extends HttpServlet {
        final String name;
        final int status;

        Servlet(String name, int status) {
            this.name = name;
            this.status = status;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            byte[] body = ("handler=" + name).getBytes();
            response.setStatus(status);
            response.setHeader("x-handler", name);
            response.setHeader("x-method", request.getMethod());
            response.setContentLength(body.length);
            response.getOutputStream().write(body);
        }
    }
}
